"""The admission plugins that a real server enables by default, as far as they are implemented.

NamespaceLifecycle is not among them, because it is checked before anything else; see
:mod:`informers.apiserver.admission.namespaces`. Those about webhooks and policies have nothing to call here;
see :mod:`informers.apiserver.writing.unenforced`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from informers.apiserver.admission import certificates, pod_security, pods, storage
from informers.apiserver.admission.plugin import Plugin
from informers.apiserver.builtin.context import Context
from informers.objects import Object

__all__ = ["ALL", "Admission", "Plugin"]

ALL: tuple[Plugin, ...] = (
    pods.SERVICE_ACCOUNT,
    pod_security.PLUGIN,
    pods.PRIORITY,
    pods.TOLERATIONS,
    storage.DEFAULT_STORAGE_CLASS,
    storage.RESIZE,
    pods.RUNTIME_CLASS,
    certificates.APPROVAL,
    certificates.SIGNING,
    certificates.ATTEST,
    certificates.SUBJECT,
    storage.DEFAULT_INGRESS_CLASS,
)
"""In the order in which a real server asks them."""


class Admission:
    """The plugins one server asks.

    :param disabled: names of plugins that are left out.
    :raises ValueError: one of the names is that of no plugin.
    """

    def __init__(self, disabled: Collection[str] = ()) -> None:
        unknown = sorted(set(disabled) - {one.name for one in ALL})
        if unknown:
            names = ", ".join(one.name for one in ALL)
            raise ValueError(f"unknown admission plugins: {', '.join(unknown)}; known plugins: {names}")
        found: dict[tuple[str, str], list[Plugin]] = {}
        for plugin in ALL:
            if plugin.name not in disabled:
                for kind in plugin.kinds:
                    found.setdefault(kind, []).append(plugin)
        self._plugins: Mapping[tuple[str, str], list[Plugin]] = found

    def mutate(self, new: Object, old: Object | None, context: Context) -> Object:
        """The new object with what the plugins add; it is changed in place.

        :raises StatusError: 403 by a plugin that cannot complete it.
        """
        for plugin in self._of(context):
            if plugin.mutate is not None:
                plugin.mutate(new, old, context)
        return new

    def validate(self, new: Object, old: Object | None, context: Context) -> None:
        """Ask every plugin whether a complete and valid object may be written.

        :raises StatusError: 403 by a plugin that says no.
        """
        for plugin in self._of(context):
            if plugin.validate is not None:
                plugin.validate(new, old, context)

    def _of(self, context: Context) -> list[Plugin]:
        resource = context.type.resource
        plugins = self._plugins.get((resource.group, resource.plural), [])
        return [one for one in plugins if context.subresource in one.subresources]
