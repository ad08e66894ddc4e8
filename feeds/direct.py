"""Calls into kernels without what Numba does at each call from Python.

Numba looks up the address of a function that is an argument anew at each call (30 µs), and the
types of the other arguments too (5 µs for some thirty arrays). A worker calls one kernel with the
same arguments for ever, and each frame waits for that.

Under ``NUMBA_BOUNDSCHECK=1`` nothing here takes effect, because an error in a function that is
called through its address is printed and not raised; nor does it without the JIT.
"""

from collections.abc import Callable
from typing import Any

from numba import config, types

PLAIN = bool(config.DISABLE_JIT or config.BOUNDSCHECK)  # type: ignore[attr-defined]


class Address(types.WrapperAddressProtocol):
    """A compiled kernel as an argument of another one: its address, looked up once."""

    def __init__(self, kernel: Any, signature: Any) -> None:  # noqa: ANN401 - Numba's objects
        self._kernel, self._signature = kernel, signature  # Keeps the code in memory.
        compiled = kernel.get_compile_result(signature)
        name = compiled.fndesc.llvm_cfunc_wrapper_name
        self._address = int(compiled.library.get_pointer_to_function(name))

    def __wrapper_address__(self) -> int:
        """Return the address (Numba's protocol)."""
        return self._address

    def signature(self) -> Any:  # noqa: ANN401
        """Return the signature (Numba's protocol)."""
        return self._signature


def argument(kernel: Callable[..., int], signature: Any) -> Any:  # noqa: ANN401
    """Return ``kernel`` in the form that is quickest to pass to another kernel."""
    return kernel if PLAIN else Address(kernel, signature)


def entry(kernel: Callable[..., int]) -> Callable[..., int]:
    """Return the machine code of a kernel with one signature, callable without any check.

    The caller answers for the types of the arguments: call ``kernel`` itself with them once, after
    each change of an array, so that a wrong one is a ``TypeError`` and not a crash.
    """
    if PLAIN:
        return kernel
    dispatcher: Any = kernel
    direct: Callable[..., int] = dispatcher.get_overload(dispatcher.signatures[0])
    return direct
