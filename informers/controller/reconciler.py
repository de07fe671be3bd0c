"""What a controller runs."""

from __future__ import annotations

from typing import Protocol

from informers.objects import ObjectKey, Result


class Reconciler(Protocol):
    """Brings the world closer to what one object asks for.

    Level-triggered: it is given a key and nothing else, looks at what is there now, and must do no harm
    when called again. The same key is never reconciled twice at the same time.
    """

    async def reconcile(self, key: ObjectKey) -> Result:
        """Reconcile one object, which may be gone.

        Raising asks for a retry with back-off; :class:`informers.errors.Terminal` waits for a change. A group
        of one exception, as task groups raise it, is that exception.
        After the controller's deadline the call is cancelled.
        """
        ...


class BlockingReconciler(Protocol):
    """The same in plain functions: run in threads, for code that blocks.

    Informers are read and events recorded there as anywhere; what is a coroutine, such as a request of the
    client, goes through :func:`informers.controller.block_on`.

    A thread cannot be cancelled. After the deadline its worker continues with other keys; the key itself
    stays in work until the thread returns.
    """

    def reconcile(self, key: ObjectKey) -> Result:
        """Reconcile one object, which may be gone."""
        ...
