"""One controller's finalizer: put on before the first remote state, taken off when that is gone."""

from __future__ import annotations

from typing import Literal

from controllers.finalizing.release import Release, defaulted
from controllers.objects.specs import problems
from controllers.status import reasons as r
from controllers.wiring.context import Context
from informers.controller.finalizer import add_finalizer, remove_finalizer
from informers.objects import Object, ObjectKey, Resource
from informers.views.view import View


class Finalizer:
    """Holds the objects of one kind, and lets them go.

    :param name: of the finalizer.
    :param manager: field manager of its patches.
    """

    def __init__(self, context: Context, resource: Resource, name: str, manager: str) -> None:
        self._context = context
        self._resource = resource
        self._name = name
        self._manager = manager
        self._looked_at: dict[ObjectKey, str] = {}
        """Uids of deleted objects whose spec has been looked at."""

    def on(self, view: View) -> bool:
        """Whether the object has it."""
        return self._name in view.finalizers

    async def hold(self, obj: Object) -> Object:
        """Put it on, unless it is there; returns the object, at the version that has it.

        :raises informers.errors.Conflict: the object has changed since it was read.
        :raises informers.errors.NotFound: it is gone.
        """
        if self._name in (obj["metadata"].get("finalizers") or ()):
            return obj
        answer = await add_finalizer(
            self._context.client, self._resource, obj, self._name, field_manager=self._manager
        )
        if answer is None:
            return obj
        self._context.informers[self._resource].written(answer)
        # The status is written to the version that has it.
        return {**obj, "metadata": answer["metadata"]}

    def leaving(self, key: ObjectKey, obj: Object) -> None:
        """The object is being deleted: warn, once, where its spec is not valid and defaults apply."""
        uid = obj["metadata"]["uid"]
        if self._looked_at.get(key) == uid:
            return
        self._looked_at[key] = uid
        if broken := problems(obj):
            self._event(obj, "Warning", r.VALIDATION_FAILED, defaulted(broken))

    async def release(self, key: ObjectKey, obj: Object, release: Release) -> None:
        """Take it off, and say why.

        :raises informers.errors.Conflict: the object has changed since it was read.
        """
        await remove_finalizer(
            self._context.client, self._resource, obj, self._name, field_manager=self._manager
        )
        self.forget(key)
        self._event(obj, "Warning" if release.warning else "Normal", release.reason, release.note)

    def forget(self, key: ObjectKey) -> None:
        """The object is gone."""
        self._looked_at.pop(key, None)

    def _event(self, obj: Object, kind: Literal["Normal", "Warning"], reason: str, note: str) -> None:
        self._context.events.event(obj, type=kind, reason=reason, action="Delete", note=note)
