"""The 128-bit product against Python's integers."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.jit import kernel
from engine.wide import SATURATED, mul_div

pytestmark = pytest.mark.kernels

INT64 = st.integers(-(2**63), 2**63 - 1)
WIDE = st.one_of(INT64, st.integers(0, 63).map(lambda n: 2**n - 1), st.integers(-1000, 1000))


@kernel("int64(int64, int64, int64)")
def product(a, b, divisor):
    """Return mul_div, compiled."""
    return mul_div(a, b, divisor)


def exact(a, b, divisor):
    quotient, rest = divmod(abs(a * b), divisor)
    quotient = min(quotient + (2 * rest >= divisor), SATURATED)
    return -quotient if (a < 0) != (b < 0) else quotient


@given(WIDE, WIDE, WIDE.map(abs).filter(lambda d: 0 < d < 2**63))
@example(-(2**63), -(2**63), 2**63 - 1)
@example(2**62, 2**62, 1)
@example(2**63 - 1, 2**63 - 1, 2**63 - 1)
@example(2**62, 4, 2**62 + 1)
@example(5, 1, 2)
@example(-5, 1, 2)
def test_a_product_is_exact_up_to_one_rounding_or_saturated(a, b, divisor):
    assert product(a, b, divisor) == exact(a, b, divisor)


@given(WIDE, WIDE, WIDE.map(abs).filter(lambda d: 0 < d < 2**63))
def test_the_plain_python_form_agrees(a, b, divisor):
    assert mul_div(a, b, divisor) == exact(a, b, divisor)


def test_a_product_beyond_int64_does_not_wrap_around():
    assert product(2**62, 4, 1) == SATURATED
    assert product(-(2**62), 4, 1) == -SATURATED
