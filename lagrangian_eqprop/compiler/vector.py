"""Elementary functions on LLVM vectors, without branches.

Each function below writes straight-line LLVM IR for one vector of any width; LLVM splits a wide vector into
registers, whose independent chains then interleave. Arguments are reduced after Cody and Waite [1]_ with a
constant in several parts and fused multiply-adds, which keep the leading difference exact; polynomials are
minimax fits (Remez) of the relative error [2]_, rounded coefficient by coefficient. An integer is read off the
low bits of x + 1.5*2**52 (2**23 for float), where the spacing of numbers is 1: that needs no conversion
instruction, which AVX2 lacks for 64 bits.

Largest errors found, in units of the last place of the result, for either format: exp 1.1, log 0.9, sin and cos
1.9, tan 1.8, sinh 1.9, cosh 1.3, tanh 2.6, power 1.2. A nan argument gives nan. sin and tan of -0.0 are 0.0. These
functions, though not those of the C library, give the same bits on every machine; where one has no fused
multiply-add, LLVM calls the C library for it, slowly.

References
----------
.. [1] W. J. Cody and W. Waite, Software Manual for the Elementary Functions, Prentice-Hall 1980.
.. [2] J.-M. Muller, Elementary Functions: Algorithms and Implementation, 3rd ed., Birkhauser 2016.
.. [3] K. C. Ng, fdlibm, e_log.c, Sun Microsystems 1993.
.. [4] T. J. Dekker, A floating-point technique for extending the available precision, Numer. Math. 18 (1971) 224.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from llvmlite import ir


class _Format(NamedTuple):
    """A number format and every constant that depends on it; the intervals are those of the reduced argument."""

    real: ir.Type
    bits: int
    fraction: int  # bits of the fraction
    bias: int
    pi: tuple[float, ...]  # parts whose sum is pi
    ln2: tuple[float, float]
    ln2_short: tuple[float, float]  # the first short enough that its product with an exponent is exact
    third: tuple[float, float]  # 2/3
    angle: float  # largest argument of sin, cos and tan
    exp: tuple[float, float]  # exp is 0 below the first, inf above the second
    sinh_end: float  # sinh and cosh are inf above
    tanh_end: float  # tanh is 1 above
    sine: tuple[float, ...]  # (sin r / r - 1)/s, s = r^2, on |r| <= pi/2
    tangent: tuple[float, ...]  # (tan r / r - 1)/s on |r| <= pi/4
    expm1: tuple[float, ...]  # (e^r - 1 - r)/r^2 on |r| <= ln(2)/2, for the relative error of e^r - 1
    sinh: tuple[float, ...]  # (sinh r / r - 1)/s on |r| <= ln(2)/2
    cosh: tuple[float, ...]  # (cosh r - 1)/s on |r| <= ln(2)/2, error of cosh
    log: tuple[float, ...]  # (2 artanh(s)/s - 2)/z, z = s^2, on |s| <= 3 - 2 sqrt(2)
    log_tail: tuple[float, ...]  # (that - 2/3)/z


_FORMATS = {
    "double": _Format(
        real=ir.DoubleType(), bits=64, fraction=52, bias=1023,
        pi=(3.141592653589793, 1.2246467991473532e-16, -2.9947698097183397e-33),
        ln2=(0.6931471805599453, 2.3190468138462996e-17), ln2_short=(0.6931471803691238, 1.9082149292705877e-10),
        third=(0.6666666666666666, 3.700743415417188e-17),
        angle=2.0**40, exp=(-708.05, 709.79), sinh_end=710.5, tanh_end=20.0,
        # error 2^-61.5; then the last was lowered a little, which rounds values beside 1 to 1 rather than above it
        sine=(-0.16666666666666666, 0.008333333333333207, -0.00019841269841212476, 2.755731921156839e-06,
              -2.5052106904256116e-08, 1.60589409901694e-10, -7.643018949940619e-13, 2.7214067365714807e-15),
        # error 2^-56.2
        tangent=(0.3333333333333276, 0.1333333333341711, 0.0539682539254783, 0.021869489637537994,
                 0.008863218761903678, 0.0035922927126565444, 0.001454735861321551, 0.0005951579094947078,
                 0.00022210455310301395, 0.00013709383085787057, -2.718911970649093e-05, 9.019212439958335e-05,
                 -4.5276931064911955e-05, 2.0959791080580932e-05),
        # error 2^-54.7
        expm1=(0.5000000000000006, 0.16666666666666588, 0.04166666666657674, 0.008333333333389557,
               0.0013888888931567036, 0.00019841269718979732, 2.4801505271629876e-05, 2.7557407577940926e-06,
               2.7626038626974827e-07, 2.5053761047656857e-08),
        # error 2^-61.7
        sinh=(0.16666666666666677, 0.008333333333321376, 0.00019841269886867536, 2.755724337533498e-06,
              2.510935581355216e-08),
        # error 2^-58
        cosh=(0.5000000000000013, 0.04166666666651047, 0.0013888888948356739, 2.4801488503773547e-05,
              2.7631811572725695e-07),
        # error 2^-58.5 of 2
        log=(0.6666666666666734, 0.39999999999416636, 0.28571428742032373, 0.22222198604294977, 0.1818356290738053,
             0.15314082987488117, 0.14795656177820124),
        # error 2^-65.3 of 2
        log_tail=(0.4000000000000225, 0.2857142857010192, 0.22222222519545046, 0.18181784397647405, 0.15386756012358074,
                  0.13256846887010137, 0.13196069830475168),
    ),
    "float": _Format(
        real=ir.FloatType(), bits=32, fraction=23, bias=127,
        pi=(3.1415927410125732, -8.742277657347586e-08, -3.4302490200117637e-15),
        ln2=(0.6931471824645996, -1.9046542121259336e-09), ln2_short=(0.693145751953125, 1.428606765330187e-06),
        third=(0.6666666865348816, -1.9868215517249155e-08),
        angle=2.0**17, exp=(-86.99, 88.73), sinh_end=89.5, tanh_end=10.0,
        # error 2^-27.3, lowered likewise
        sine=(-1.666666e-01, 8.333069e-03, -1.9809777e-04, 2.605891e-06),
        # error 2^-25.7
        tangent=(3.3333156e-01, 1.3338846e-01, 5.3406857e-02, 2.4447313e-02, 3.0906866e-03, 9.403509e-03),
        # error 2^-25.8
        expm1=(4.9999997e-01, 1.6666543e-01, 4.1667204e-02, 8.3665205e-03, 1.3882251e-03),
        # error 2^-26.2
        sinh=(1.6666543e-01, 8.3665345e-03),
        # error 2^-33.2
        cosh=(5e-01, 4.166646e-02, 1.3935426e-03),
        # error 2^-29.2 of 2
        log=(6.6666776e-01, 3.9977583e-01, 2.9870796e-01),
        # error 2^-35.8 of 2
        log_tail=(4.0000153e-01, 2.854709e-01, 2.3419645e-01),
    ),
}  # fmt: skip

# Every instruction below carries this flag, which says nothing to additions and products, since numba's fastmath option
# adds its own flags to instructions that have none: reassociation would undo the reductions.
_STRICT = ("afn",)


class _Repeated(ir.Constant):
    """The same constant in all lanes, as an expression whose length does not grow with the number of lanes.

    Reading its text is a good part of what LLVM does with a module.
    """

    def __init__(self, kind: ir.VectorType, one: ir.Constant) -> None:
        super().__init__(kind, one)
        self.one = one

    def _get_reference(self) -> str:
        if self.one.get_reference() in ("0", "0x0"):  # not -0.0
            return "zeroinitializer"
        kind, value = self.type, f"{self.one.type} {self.one.get_reference()}"
        first = f"{kind} insertelement ({kind} undef, {value}, i32 0)"
        return f"shufflevector ({first}, {kind} undef, <{kind.count} x i32> zeroinitializer)"


class Vector:
    """Builds arithmetic on one LLVM vector type.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Where the instructions go.
    width : int
        Number of lanes; not the width of a register, LLVM splits.
    element : {"double", "float"}
        Type of a lane.
    flags : sequence of str
        Fast-math flags of the instructions. The default lets LLVM fuse products with sums and nothing else.

    Attributes
    ----------
    type, integers : llvmlite.ir.VectorType
        The vectors, and those of integers of the same size, as which their bits can be read.
    """

    def __init__(
        self, builder: ir.IRBuilder, width: int, element: str = "double", flags: Sequence[str] = ("contract",)
    ) -> None:
        self.builder = builder
        self.width = width
        self.element = element
        self.flags = tuple(flags)
        self.format = _FORMATS[element]
        self.type = ir.VectorType(self.format.real, width)
        self.integers = ir.VectorType(ir.IntType(self.format.bits), width)

    def constant(self, x: float) -> ir.Constant:
        """The same number in all lanes."""
        return _Repeated(self.type, ir.Constant(self.format.real, float(x)))

    def integer(self, n: int) -> ir.Constant:
        """The same integer in all lanes."""
        return _Repeated(self.integers, ir.Constant(self.integers.element, n))

    def splat(self, scalar: ir.Value) -> ir.Value:
        """A scalar value in all lanes."""
        undefined = ir.Constant(self.type, ir.Undefined)
        zero = ir.Constant(ir.IntType(32), 0)
        first = self.builder.insert_element(undefined, scalar, zero)
        return self.builder.shuffle_vector(first, undefined, _Repeated(ir.VectorType(zero.type, self.width), zero))

    def add(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fadd(a, b, flags=self.flags)

    def sub(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fsub(a, b, flags=self.flags)

    def mul(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fmul(a, b, flags=self.flags)

    def div(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fdiv(a, b, flags=self.flags)

    def neg(self, a: ir.Value) -> ir.Value:
        return self.builder.fneg(a, flags=self.flags)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a*b + c, rounded once."""
        return self._intrinsic("fma", a, b, c)

    def sqrt(self, a: ir.Value) -> ir.Value:
        return self._intrinsic("sqrt", a)

    def abs(self, a: ir.Value) -> ir.Value:
        return self._intrinsic("fabs", a)

    def round(self, a: ir.Value) -> ir.Value:
        """The nearest integer, the even one of two."""
        return self._intrinsic("rint", a)

    def floor(self, a: ir.Value) -> ir.Value:
        return self._intrinsic("floor", a)

    def ceil(self, a: ir.Value) -> ir.Value:
        return self._intrinsic("ceil", a)

    def _intrinsic(self, name: str, *arguments: ir.Value) -> ir.Value:
        full = f"llvm.{name}.v{self.width}f{self.format.bits}"
        return self.builder.call(self._function(full, self.type, len(arguments)), arguments)

    def _function(self, name: str, kind: ir.Type, arguments: int) -> ir.Value:
        module = self.builder.module
        if name in module.globals:
            return module.globals[name]
        return ir.Function(module, ir.FunctionType(kind, [kind] * arguments), name)

    def compare(self, op: str, a: ir.Value, b: ir.Value) -> ir.Value:
        """A mask, one bit for each lane; False where an argument is nan, for ``!=`` too."""
        return self.builder.fcmp_ordered(op, a, b, flags=self.flags)

    def select(self, mask: ir.Value, a: ir.Value, b: ir.Value) -> ir.Value:
        """a where the mask is set, b elsewhere."""
        return self.builder.select(mask, a, b)

    def bits(self, a: ir.Value) -> ir.Value:
        """The same bits as integers."""
        return self.builder.bitcast(a, self.integers)

    def real(self, a: ir.Value) -> ir.Value:
        """The same bits as numbers."""
        return self.builder.bitcast(a, self.type)

    def per_lane(self, name: str, *arguments: ir.Value) -> ir.Value:
        """A function of the C library for each lane; ``name`` is that for double, an f is appended for float."""
        function = self._function(name + "f" * (self.element == "float"), self.format.real, len(arguments))
        result = ir.Constant(self.type, ir.Undefined)
        for lane in range(self.width):
            place = ir.Constant(ir.IntType(32), lane)
            one = self.builder.call(function, [self.builder.extract_element(a, place) for a in arguments])
            result = self.builder.insert_element(result, one, place)
        return result


FUNCTIONS: dict[str, Callable[..., ir.Value]] = {}  # name: function of a Vector and its arguments


def _elementary(function: Callable[..., ir.Value]) -> Callable[..., ir.Value]:
    """Enter a function under its name, with arithmetic as written whatever the caller's flags."""

    def strictly(vector: Vector, *arguments: ir.Value) -> ir.Value:
        return function(Vector(vector.builder, vector.width, vector.element, _STRICT), *arguments)

    strictly.__doc__ = function.__doc__
    FUNCTIONS[function.__name__] = strictly
    return function


def _horner(v: Vector, x: ir.Value, coefficients: Sequence[float]) -> ir.Value:
    value: ir.Value = v.constant(coefficients[-1])
    for c in coefficients[-2::-1]:
        value = v.fma(value, x, v.constant(c))
    return value


def _polynomial(v: Vector, x: ir.Value, coefficients: Sequence[float]) -> ir.Value:
    """Even and odd powers apart, each by Horner's scheme: half as long a chain for one more product.

    The lowest coefficient is added last, so that one rounding remains of all.
    """
    if len(coefficients) < 5:
        return _horner(v, x, coefficients)
    square = v.mul(x, x)
    rest = v.fma(_horner(v, square, coefficients[2::2]), x, _horner(v, square, coefficients[1::2]))
    return v.fma(rest, x, v.constant(coefficients[0]))


def _nearest(v: Vector, x: ir.Value, factor: float, offset: int = 0) -> tuple[ir.Value, ir.Value]:
    """The integer n nearest to factor*x, as a number, and with n + offset in the low bits of another one."""
    shift = v.constant(1.5 * 2**v.format.fraction + offset)
    shifted = v.fma(x, v.constant(factor), shift)
    return v.sub(shifted, shift), v.bits(shifted)


def _parity(v: Vector, n: ir.Value) -> ir.Value:
    """The lowest bit of integers moved to where the sign is."""
    return v.builder.shl(n, v.integer(v.format.bits - 1))


def _flip(v: Vector, x: ir.Value, signs: ir.Value) -> ir.Value:
    return v.real(v.builder.xor(v.bits(x), signs))


def _in_range(v: Vector, x: ir.Value, result: ir.Value) -> ir.Value:
    """The result, or nan where x is too large for the reduction."""
    return v.select(v.compare("<=", v.abs(x), v.constant(v.format.angle)), result, v.constant(math.nan))


def _sine(v: Vector, x: ir.Value, y: ir.Value, n: ir.Value, signs: ir.Value) -> ir.Value:
    """sin(y - n pi), |y| = |x|, with its sign changed where a sign bit is set."""
    first, second, third = (v.constant(-part) for part in v.format.pi)
    r = v.fma(n, second, v.fma(n, first, y))
    s = v.mul(r, r)  # the third part counts only where r is so small that s does not
    r = _in_range(v, x, _flip(v, v.fma(n, third, r), signs))
    return v.fma(v.mul(r, s), _polynomial(v, s, v.format.sine), r)


@_elementary
def sin(v: Vector, x: ir.Value) -> ir.Value:
    """sin x for |x| <= 2**40 (float: 2**17), nan beyond; odd to the last bit."""
    n, whole = _nearest(v, x, 1 / math.pi)
    return _sine(v, x, x, n, _parity(v, whole))


@_elementary
def cos(v: Vector, x: ir.Value) -> ir.Value:
    """cos x for |x| <= 2**40 (float: 2**17), nan beyond.

    With n the integer nearest to x/pi - 1/2 it is (-1)**n sin((n + 1/2) pi - x), whose argument vanishes with it.
    """
    shift = v.constant(1.5 * 2**v.format.fraction)
    shifted = v.add(v.fma(x, v.constant(1 / math.pi), v.constant(-0.5)), shift)
    middle = v.sub(v.constant(-0.5), v.sub(shifted, shift))
    return _sine(v, x, v.neg(x), middle, _parity(v, v.bits(shifted)))


@_elementary
def tan(v: Vector, x: ir.Value) -> ir.Value:
    """tan x for |x| <= 2**40 (float: 2**17), nan beyond.

    Where n is odd it is -1/tan(x - n pi/2).
    """
    n, whole = _nearest(v, x, 2 / math.pi)
    first, second, third = (v.constant(-0.5 * part) for part in v.format.pi)
    # Knuth's sum of two numbers with its error, since either can be the larger one.
    exact, product = v.fma(n, first, x), v.mul(n, second)
    total = v.add(exact, product)
    part = v.sub(total, exact)
    error = v.add(v.sub(exact, v.sub(total, part)), v.sub(product, part))
    low = v.add(error, v.fma(n, third, v.fma(n, second, v.neg(product))))
    r = v.add(total, low)
    low = v.add(v.sub(total, r), low)
    s = v.mul(r, r)
    bend = v.mul(s, v.fma(r, _polynomial(v, s, v.format.tangent), v.mul(low, v.constant(3.0))))
    tangent = v.add(r, bend)
    rounded = v.add(v.sub(r, tangent), bend)
    inverse = v.div(v.constant(-1.0), tangent)
    error = v.fma(inverse, rounded, v.fma(inverse, tangent, v.constant(1.0)))
    inverse = v.fma(inverse, error, inverse)
    odd = v.builder.icmp_signed("<", _parity(v, whole), v.integer(0))
    return _in_range(v, x, v.select(odd, inverse, tangent))


def _at_most(v: Vector, x: ir.Value, bound: float) -> ir.Value:
    """min(x, bound); nan stays."""
    limit = v.constant(bound)
    return v.select(v.compare("<", limit, x), limit, x)


def _at_least(v: Vector, x: ir.Value, bound: float) -> ir.Value:
    """max(x, bound); nan stays."""
    limit = v.constant(bound)
    return v.select(v.compare(">", limit, x), limit, x)


def _expm1(v: Vector, x: ir.Value, offset: int, rest: ir.Value | None = None) -> tuple[ir.Value, ir.Value]:
    """e^r - 1 and 2**(n + offset), with x + rest = n ln 2 + r and |r| <= ln(2)/2."""
    n, whole = _nearest(v, x, 1 / math.log(2), v.format.bias + offset)
    high, low = (v.constant(-part) for part in v.format.ln2)
    r = v.fma(n, high, x)
    r = v.fma(n, low, r) if rest is None else v.add(r, v.fma(n, low, rest))
    less = v.fma(v.mul(r, r), _polynomial(v, r, v.format.expm1), r)
    return less, v.real(v.builder.shl(whole, v.integer(v.format.fraction)))


def _exp(v: Vector, x: ir.Value, rest: ir.Value | None = None) -> ir.Value:
    """e^(x + rest)."""
    x = _at_least(v, _at_most(v, x, v.format.exp[1]), v.format.exp[0])
    less, half = _expm1(v, x, -1, rest)  # half, since 2**1024 is no number, and e^709.7 is one
    return v.mul(v.fma(less, v.constant(2.0), v.constant(2.0)), half)


@_elementary
def exp(v: Vector, x: ir.Value) -> ir.Value:
    """e^x; 0 where it is below 2**-1021.5 (float: 2**-125.5), so never subnormal, and inf where it is too large."""
    return _exp(v, x)


@_elementary
def tanh(v: Vector, x: ir.Value) -> ir.Value:
    """tanh x = q/(q + 2) with q = e^(2x) - 1, whose relative error is small at 0; odd to the last bit."""
    size = _at_most(v, v.abs(x), v.format.tanh_end)
    less, power = _expm1(v, v.add(size, size), 0)
    q = v.fma(power, less, v.sub(power, v.constant(1.0)))
    return _copy_sign(v, v.div(q, v.add(q, v.constant(2.0))), x)


def _sign_bit(v: Vector, x: ir.Value) -> ir.Value:
    return v.builder.and_(v.bits(x), v.integer(-(1 << (v.format.bits - 1))))


def _copy_sign(v: Vector, size: ir.Value, x: ir.Value) -> ir.Value:
    """x's sign on a number that is not negative."""
    return v.real(v.builder.or_(v.bits(size), _sign_bit(v, x)))


def _hyperbolic(v: Vector, x: ir.Value) -> tuple[ir.Value, ...]:
    """sinh r, cosh r - 1, 2**n/4 and 2**-n/4 with |x| = n ln 2 + r; quarters, since 2**1024 is no number."""
    f = v.format
    size = _at_most(v, v.abs(x), f.sinh_end)
    n, whole = _nearest(v, size, 1 / math.log(2), f.bias - 2)
    high, low = (v.constant(-part) for part in f.ln2)
    r = v.fma(n, low, v.fma(n, high, size))
    s = v.mul(r, r)
    sine = v.fma(v.mul(r, s), _polynomial(v, s, f.sinh), r)
    cosine = v.mul(s, _polynomial(v, s, f.cosh))
    power = v.builder.shl(whole, v.integer(f.fraction))
    inverse = v.real(v.builder.sub(v.integer(2 * (f.bias - 2) << f.fraction), power))
    # A large n would take its exponent below the smallest, but there it does not count.
    inverse = v.select(v.compare("<", n, v.constant(f.fraction)), inverse, v.constant(0.0))
    return sine, cosine, v.real(power), inverse


@_elementary
def sinh(v: Vector, x: ir.Value) -> ir.Value:
    """sinh x = sinh(n ln 2) cosh r + cosh(n ln 2) sinh r; odd to the last bit."""
    sine, cosine, power, inverse = _hyperbolic(v, x)
    whole = v.sub(power, inverse)
    half = v.add(whole, v.fma(v.add(power, inverse), sine, v.mul(whole, cosine)))
    return _copy_sign(v, v.add(half, half), x)


@_elementary
def cosh(v: Vector, x: ir.Value) -> ir.Value:
    """cosh x = cosh(n ln 2) cosh r + sinh(n ln 2) sinh r."""
    sine, cosine, power, inverse = _hyperbolic(v, x)
    rest = v.fma(v.add(power, inverse), cosine, inverse)
    half = v.add(power, v.fma(v.sub(power, inverse), sine, rest))
    return v.add(half, half)


def _split(v: Vector, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """k and m with x = 2**k m, sqrt(1/2) <= m < sqrt(2), for 0 < x < inf (after fdlibm)."""
    f = v.format
    scale = f.fraction + 2
    tiny = v.compare("<", x, v.constant(2.0 ** (1 - f.bias)))
    x = v.select(tiny, v.mul(x, v.constant(2.0**scale)), x)
    root, one = _pattern(f, math.sqrt(0.5)), _pattern(f, 1.0)
    moved = v.builder.add(v.bits(x), v.integer(one - root))
    exponent = v.builder.lshr(moved, v.integer(f.fraction))
    # As the low bits of 2**52 an integer becomes a number without a conversion.
    large = 2.0**f.fraction
    number = v.real(v.builder.or_(exponent, v.integer(_pattern(f, large))))
    k = v.sub(number, v.select(tiny, v.constant(large + f.bias + scale), v.constant(large + f.bias)))
    fraction = v.builder.and_(moved, v.integer((1 << f.fraction) - 1))
    return k, v.real(v.builder.add(fraction, v.integer(root)))


def _pattern(f: _Format, x: float) -> int:
    """The bits of a positive normal number."""
    mantissa, exponent = math.frexp(x)
    return ((exponent - 1 + f.bias) << f.fraction) + round((2 * mantissa - 1) * 2**f.fraction)


@_elementary
def log(v: Vector, x: ir.Value) -> ir.Value:
    """log x, subnormal x included; log 0 = -inf, nan below.

    With x = 2**k (1 + f) and s = f/(2 + f) it is k ln 2 + f - (f^2/2 - s (f^2/2 + z P(z))), z = s^2 [3]_.
    """
    k, m = _split(v, x)
    f = v.sub(m, v.constant(1.0))
    s = v.div(f, v.add(f, v.constant(2.0)))
    z = v.mul(s, s)
    half = v.mul(v.mul(f, f), v.constant(0.5))
    inner = v.fma(z, _polynomial(v, z, v.format.log), half)
    high, low = (v.constant(part) for part in v.format.ln2)
    rest = v.sub(half, v.fma(s, inner, v.mul(k, low)))
    value = v.fma(k, high, v.sub(f, rest))
    zero, infinity = v.constant(0.0), v.constant(math.inf)
    edge = v.select(v.compare("==", x, zero), v.constant(-math.inf), v.constant(math.nan))
    edge = v.select(v.compare("==", x, infinity), x, edge)
    inside = v.builder.and_(v.compare(">", x, zero), v.compare("<", x, infinity))
    return v.select(inside, value, edge)


def _log_pair(v: Vector, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """log x for 0 < x < inf as an unevaluated sum [4]_, relative error about 2**-65 (float: 2**-34)."""
    k, m = _split(v, x)
    one, two = v.constant(1.0), v.constant(2.0)
    f = v.sub(m, one)
    d = v.add(m, one)
    d_low = v.sub(m, v.sub(d, one))
    inverse = v.div(one, d)
    s = v.mul(f, inverse)
    s_low = v.mul(v.fma(v.neg(s), d_low, v.fma(v.neg(s), d, f)), inverse)
    z = v.mul(s, s)
    z_low = v.fma(v.add(s, s), s_low, v.fma(s, s, v.neg(z)))
    third, third_low = (v.constant(part) for part in v.format.third)
    tail = v.mul(z, _polynomial(v, z, v.format.log_tail))
    c = v.add(third, tail)
    c_low = v.add(v.add(v.sub(third, c), tail), third_low)
    w = v.mul(z, c)
    w_low = v.fma(z_low, c, v.fma(z, c_low, v.fma(z, c, v.neg(w))))
    g = v.add(two, w)
    g_low = v.add(v.add(v.sub(two, g), w), w_low)
    high = v.mul(s, g)
    low = v.fma(s_low, g, v.fma(s, g_low, v.fma(s, g, v.neg(high))))
    ln2, ln2_low = (v.constant(part) for part in v.format.ln2_short)
    multiple = v.mul(k, ln2)
    total = v.add(multiple, high)
    return total, v.add(v.add(v.sub(multiple, total), high), v.fma(k, ln2_low, low))


@_elementary
def power(v: Vector, x: ir.Value, y: ir.Value) -> ir.Value:
    """x**y as exp(y log x), the logarithm in two parts; 0 and inf where ``exp`` is.

    Negative x with an integer y has the sign of (-1)**y, with another y it is nan; 0**y is 0, 1 or inf. nan for
    1**inf, and for nan**0 too.
    """
    zero, infinity = v.constant(0.0), v.constant(math.inf)
    size = v.abs(x)
    high, low = _log_pair(v, size)
    exponent = v.mul(y, high)
    rest = v.fma(y, low, v.fma(y, high, v.neg(exponent)))
    # Where the result over- or underflows the rest may be inf or nan.
    rest = v.select(v.compare("<", v.abs(exponent), v.constant(2 * v.format.exp[1])), rest, zero)
    value = _exp(v, exponent, rest)
    half = v.mul(y, v.constant(0.5))
    whole = v.compare("==", v.round(y), y)
    odd = v.builder.and_(whole, v.compare("!=", v.round(half), half))
    value = v.select(v.builder.and_(v.compare("<", x, zero), v.builder.not_(whole)), v.constant(math.nan), value)
    toward = v.select(v.compare("==", x, zero), v.neg(y), y)
    edge = v.select(v.compare(">", toward, zero), infinity, v.select(v.compare("<", toward, zero), zero, toward))
    edge = v.select(v.compare("==", toward, zero), v.constant(1.0), edge)
    edge = v.select(v.compare("==", size, size), edge, x)
    inside = v.builder.and_(v.compare(">", size, zero), v.compare("<", size, infinity))
    value = v.select(inside, value, edge)
    return v.select(odd, _flip(v, value, _sign_bit(v, x)), value)


@_elementary
def sign(v: Vector, x: ir.Value) -> ir.Value:
    """-1, 0 or 1."""
    zero = v.constant(0.0)
    return v.select(v.compare(">", x, zero), v.constant(1.0), v.select(v.compare("<", x, zero), v.constant(-1.0), x))


@_elementary
def heaviside(v: Vector, x: ir.Value) -> ir.Value:
    """0 below 0, 1/2 at it, 1 above."""
    return v.select(v.compare("==", x, x), v.fma(sign(v, x), v.constant(0.5), v.constant(0.5)), x)


@_elementary
def maximum(v: Vector, x: ir.Value, y: ir.Value) -> ir.Value:
    """The larger; nan where one is nan."""
    return v.select(v.compare("==", x, x), v.select(v.compare(">", x, y), x, y), x)


@_elementary
def minimum(v: Vector, x: ir.Value, y: ir.Value) -> ir.Value:
    """The smaller; nan where one is nan."""
    return v.select(v.compare("==", x, x), v.select(v.compare("<", x, y), x, y), x)


def _library(name: str) -> Callable[..., ir.Value]:
    def function(v: Vector, *arguments: ir.Value) -> ir.Value:
        return v.per_lane(name, *arguments)

    function.__doc__ = f"{name} of the C library, lane by lane."
    return function


FUNCTIONS.update(sqrt=Vector.sqrt, floor=Vector.floor, ceil=Vector.ceil, magnitude=Vector.abs)
for _name in ("sin", "cos", "tan", "sinh", "cosh", "tanh"):
    FUNCTIONS.setdefault("arc" + _name, _library("a" + _name))
FUNCTIONS["arctan2"] = _library("atan2")
