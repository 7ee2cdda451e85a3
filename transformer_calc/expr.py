"""Exact symbolic sizes: polynomials in L, B, S, D, ... with integer or rational coefficients.

    >>> L, D, V, P = map(symbol, "LDVP")
    >>> gpt = L * (12 * D**2 + 13 * D) + (V + P) * D + 2 * D
    >>> print(gpt)
    12·L·D² + 13·L·D + V·D + P·D + 2·D
    >>> print(gpt.format(collect=("L", "D")))
    12·L·D² + 13·L·D + (V + P + 2)·D
    >>> gpt.evaluate({"L": 96, "D": 12288, "V": 50257, "P": 2048})
    174604259328

A size is an int, a Fraction, an Expr or a Pair, and whatever collapses to a constant *is* an int (or a Fraction):
nobody ever sees a constant Expr. Equal polynomials compare equal, whatever way they were built. The functions
(minimum, ceil_to, ...) take ints, Exprs, Pairs and arrays alike, so one formula serves all four.

A Pair is a number that knows its formula. The number decides (it is compared, and is true or not), the formula is
carried along, so that a reading which chooses among sizes gives both:

    >>> D = Pair(512, symbol("D"))
    >>> max(3 * D, 1000 + D)
    Pair(1536, parse('3*D'))

Arrays are exact too: integer arrays become object arrays of Python ints, which cannot overflow (a count near
10**25 is exact); float64 arrays stay float64, with a relative error near 1e-16.

A symbol whose name ends in `_l`, such as F_l, has one value per layer; layer_sum adds it up.
"""

from __future__ import annotations

TYPE_CHECKING = False  # not imported from typing, which costs more than all the rest of this module
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from fractions import Fraction
    from typing import Any, TypeAlias

    Size: TypeAlias = int | Fraction | "Expr" | "Pair"
    Number: TypeAlias = int | Fraction
    Monomial: TypeAlias = tuple[tuple[str, int], ...]  # (atom, power) pairs, sorted by atom
    Terms: TypeAlias = dict[Monomial, Number]

RANKS = {letter: rank for rank, letter in enumerate("LBSTCVPDFHKEXkW")}  # the order within a printed product
PER_LAYER = "_l"
SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
RAISED, LOWERED = str.maketrans("0123456789", SUPERSCRIPTS), str.maketrans(SUPERSCRIPTS, "0123456789")
STYLES = {"unicode": "·", "ascii": "*", "latex": " "}  # with the sign of multiplication
MAX_DEPTH, MAX_EXPONENT = 50, 100  # of text to parse


class UnboundSymbolError(KeyError):
    """A numeric evaluation lacks the value of a symbol."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the repr


class Call(str):
    """A function of sizes standing as a factor, such as min(C, W): its ASCII form, a string, with its parts.

    Atoms are strings (a symbol is its name), which makes monomials cheap to hash, compare and sort.
    """

    __slots__ = ("args", "function")
    function: str
    args: tuple[Size, ...]


class Expr:
    """A polynomial over symbols and function applications; immutable, hashable, never constant."""

    __slots__ = ("_terms",)
    __array_ufunc__ = None  # ndarray * Expr is our business, and we refuse it: arrays come in by evaluate

    def __init__(self, terms: Terms) -> None:
        self._terms = terms  # without zero coefficients: equal polynomials have equal terms

    def __add__(self, other: Size) -> Size:
        terms = dict(self._terms)
        for monomial, coefficient in _terms(other).items():
            _accumulate(terms, monomial, coefficient)
        return _size(terms)

    def __mul__(self, other: Size) -> Size:
        terms: Terms = {}
        right = _terms(other)
        for m1, c1 in self._terms.items():
            for m2, c2 in right.items():
                _accumulate(terms, _product(m1, m2), c1 * c2)
        return _size(terms)

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        return self + Expr(_terms(other)) * -1

    def __rsub__(self, other: Size) -> Size:
        return self * -1 + other

    __radd__, __rmul__ = __add__, __mul__

    def __truediv__(self, other: Number) -> Size:
        divisor = _exact(other)
        if divisor is None:
            raise TypeError(f"{self} can be divided by an int or a Fraction, not by {other!r}")
        return Expr({monomial: _quotient(c, divisor) for monomial, c in self._terms.items()})

    def __pow__(self, power: int) -> Size:
        n = _exact(power)
        if not isinstance(n, int) or n < 0:
            raise TypeError(f"the power of an expression is a non-negative int, not {power!r}")
        if n and len(self._terms) == 1:
            ((monomial, coefficient),) = self._terms.items()
            return Expr({tuple((atom, p * n) for atom, p in monomial): coefficient**n})
        result: Size = 1
        for bit in f"{n:b}":
            result = result * result * (self if bit == "1" else 1)
        return result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expr) and self._terms == other._terms

    def __hash__(self) -> int:
        return hash(frozenset(self._terms.items()))

    def __bool__(self) -> bool:
        raise TypeError(f"{self} is neither zero nor non-zero until its symbols are bound")

    def evaluate(self, env: Mapping[str, Any]) -> Any:
        """The value at env, a map from symbol name to int, Fraction, Expr, float or array.

        Symbols not in env stay symbolic, so ints and Exprs may be bound little by little. With floats or
        arrays every symbol needs a number, else UnboundSymbolError. Arrays broadcast; integer arrays give
        object arrays of Python ints, exact at any magnitude; one float among the values makes an array
        float64. A per-layer symbol (F_l) takes a list or tuple, one value for each layer, or one value for
        all. TypeError for anything that is no number (bools too), ValueError for a sequence of the wrong
        length.
        """
        names = self.symbols()
        values = {name: _binding(name, env[name]) for name in names if name in env}
        leaves = [x for value in values.values() for x in (value if isinstance(value, tuple) else (value,))]
        if any(_is_float(x) or _is_array(x) for x in leaves):
            missing = (names - values.keys()).union(*(x.symbols() for x in leaves if isinstance(x, Expr)))
            if missing:
                listed = ", ".join(sorted(missing, key=_rank))
                raise UnboundSymbolError(f"no value for {listed}, needed beside floats or arrays")
        return _tidy(_value(self, values), any(map(_is_float, leaves)))

    __call__ = evaluate

    def substitute(self, rules: Mapping[Any, Size]) -> Size:
        """Rewrite by rules such as {H * E: D} or {"K": 8}; a left side is a symbol or a product of symbols.

        A product is divided out of each monomial as often as it goes (4·D·H·E becomes 4·D², a lone H stays).
        Products come first, in the given order; then all symbols at once. Both reach into functions.
        ValueError for a left side that is neither.
        """
        result: Size = self
        single: dict[str, Size] = {}
        for left, right in rules.items():
            product = _monomial(left)
            if len(product) == 1 and product[0][1] == 1 and not isinstance(product[0][0], Call):
                single[product[0][0]] = right
            else:
                result = _divide_out(result, product, right)
        return evaluate(result, single)  # type: ignore[no-any-return]

    def terms(self) -> list[tuple[Number, Size]]:
        """The terms as (coefficient, product of powers of symbols); the product of a constant is 1."""
        return [(c, _size({monomial: 1})) for monomial, c in self._terms.items()]

    def symbols(self) -> frozenset[str]:
        """The names of all symbols, those inside functions included."""
        return frozenset(_names(self))

    def degree(self, name: str) -> int:
        """The highest power of a symbol (0 if absent); ValueError if it stands inside a function."""
        for call in (atom for monomial in self._terms for atom, _ in monomial if isinstance(atom, Call)):
            if any(name in _names(arg) for arg in call.args):
                raise ValueError(f"no degree in {name}: it stands inside {call}")
        return max(dict(monomial).get(name, 0) for monomial in self._terms)

    def format(self, style: str = "unicode", collect: Iterable[str] = ()) -> str:
        """The text in style "unicode" (12·L·D²), "ascii" (12*L*D^2) or "latex" (12 L D^{2}).

        The highest total degree comes first, then the symbols' fixed rank decides. With collect, the sum is
        grouped as a polynomial in the symbols named there: (V + P + 2)·D. ValueError for another style.
        """
        if style not in STYLES:
            raise ValueError(f"style {style!r} is not one of {', '.join(STYLES)}")
        names = {collect} if isinstance(collect, str) else set(collect)
        groups: dict[Monomial, Terms] = {}
        for monomial, c in self._terms.items():
            held = tuple(pair for pair in monomial if pair[0] in names)
            groups.setdefault(held, {})[tuple(pair for pair in monomial if pair[0] not in names)] = c
        parts = []
        for held in sorted(groups, key=_order):
            terms = [(groups[held][m], m) for m in sorted(groups[held], key=_order)]
            if held and len(terms) > 1:
                sign = 1 if terms[0][0] > 0 else -1
                inner = _sum_text([_term_text(sign * c, m, style) for c, m in terms])
                parts.append(f"{'-' * (sign < 0)}({inner}){STYLES[style]}{_term_text(1, held, style)}")
            else:
                parts += [_term_text(c, _product(held, m), style) for c, m in terms]
        return _sum_text(parts)

    def __str__(self) -> str:
        return self.format()

    def __repr__(self) -> str:
        return f"parse({self.format('ascii')!r})"


class Pair:
    """A number and the formula that it is the value of. Without a symbol left in it, a formula is its number."""

    __slots__ = ("formula", "number")
    __array_ufunc__ = None

    def __init__(self, number: Number, formula: Expr) -> None:
        self.number, self.formula = number, formula

    def __add__(self, other: Any) -> Any:
        return paired(self.number + number_of(other), self.formula + formula_of(other))

    def __mul__(self, other: Any) -> Any:
        return paired(self.number * number_of(other), self.formula * formula_of(other))

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Any:
        return self * -1

    def __sub__(self, other: Any) -> Any:
        return self + other * -1

    def __rsub__(self, other: Any) -> Any:
        return self * -1 + other

    def __truediv__(self, other: Number) -> Any:
        return paired(divide(self.number, other), self.formula / other)

    def __pow__(self, power: int) -> Any:
        return paired(self.number**power, self.formula**power)

    def __eq__(self, other: object) -> bool:
        return bool(self.number == number_of(other))

    def __lt__(self, other: Any) -> bool:
        return bool(self.number < number_of(other))

    def __le__(self, other: Any) -> bool:
        return bool(self.number <= number_of(other))

    def __gt__(self, other: Any) -> bool:
        return bool(self.number > number_of(other))

    def __ge__(self, other: Any) -> bool:
        return bool(self.number >= number_of(other))

    def __hash__(self) -> int:
        return hash(self.number)

    def __bool__(self) -> bool:
        return bool(self.number)

    def __repr__(self) -> str:
        return f"Pair({self.number!r}, {self.formula!r})"


# ---- Making sizes


def symbol(name: str) -> Expr:
    """The symbol of that name: a letter, then letters and digits, a subscript after an underscore (D, F_e).

    It stands for a whole number. ValueError for another name.
    """
    parts = name.split("_")
    if not (name.isascii() and name[:1].isalpha() and all(map(str.isalnum, parts))) or name in FUNCTIONS:
        raise ValueError(f"{name!r} is not a symbol's name, which looks like D, F_e or L_local")
    return _expr(name)


def indexed(name: str) -> Expr:
    """The symbol with one value per layer: F_l for the name F. It is bound, as F_l, to a list or tuple."""
    return symbol(name + PER_LAYER)


def paired(number: Any, formula: Any) -> Any:
    """The pair of a number and its formula; without a symbol in that, the number."""
    return Pair(number, formula) if isinstance(formula, Expr) else number


def number_of(size: Any) -> Any:
    """The number of a pair; anything else as it is."""
    return size.number if isinstance(size, Pair) else size


def formula_of(size: Any) -> Any:
    """The formula of a pair; anything else as it is."""
    return size.formula if isinstance(size, Pair) else size


def _by_halves(function: Callable[..., Any], *sizes: Any) -> Any:
    """A function of sizes, some of them pairs: of their numbers, and of their formulas."""
    return paired(function(*map(number_of, sizes)), function(*map(formula_of, sizes)))


def minimum(first: Any, *rest: Any) -> Any:
    """The smallest of the arguments, elementwise for arrays, symbolic if one of them is."""
    return _extreme("min", (first, *rest))


def maximum(first: Any, *rest: Any) -> Any:
    """The largest of the arguments, elementwise for arrays, symbolic if one of them is."""
    return _extreme("max", (first, *rest))


def largest(sizes: Iterable[Any]) -> Any:
    """The one that is the largest: of pairs with its own formula, elementwise for arrays; of none, 0."""
    held = list(sizes)
    return maximum(*held) if any(map(_is_array, held)) else max(held, default=0)


def ceil_div(a: Any, b: Any) -> Any:
    """The quotient a / b, rounded up; ValueError unless b is positive."""
    if type(a) is int and type(b) is int and b > 0:  # what most are, and are asked thousands of times
        return -(-a // b)
    return _ceil("ceil_div", a, b)


def ceil_to(a: Any, multiple: Any) -> Any:
    """The smallest multiple not below a (a padded vocabulary); ValueError unless multiple is positive."""
    return _ceil("ceil_to", a, multiple)


def divide(a: Any, divisor: Number) -> Any:
    """The exact quotient, where `/` would turn ints into floats; an int if whole, else a Fraction."""
    if isinstance(a, Pair):
        return a / divisor
    a, exact = as_size(a), _exact(divisor)
    if exact is None:
        raise TypeError(f"the divisor is an int or a Fraction, not {divisor!r}")
    if isinstance(a, Expr) or _is_float(a):
        return a / exact
    return _tidy(a * _quotient(1, exact), False) if _is_array(a) else _quotient(a, exact)


def layer_sum(body: Any, count: Any = None) -> Any:
    """The sum of body over count layers (by default L), which differ in the per-layer symbols, such as F_l.

    Whatever is the same in all layers is pulled out: Σₗ (3·D·F_l + 2·D) is 3·D·Σₗ F_l + 2·L·D. On evaluation
    the sequence bound to F_l must have count entries. ValueError for a negative count or one that differs by
    layer.
    """
    body, count = as_size(body), _expr("L") if count is None else as_size(count)
    if _varies(count) or (isinstance(count, int) and count < 0):
        raise ValueError(f"the number of layers is one non-negative number, not {count}")
    if not isinstance(body, Expr):
        return _tidy(body * count, _is_float(body) or _is_float(count))
    if not _terms(count):
        return 0
    result: Size = 0
    for monomial, c in body._terms.items():
        inner = tuple(pair for pair in monomial if _atom_varies(pair[0]))
        outer = _size({tuple(pair for pair in monomial if not _atom_varies(pair[0])): c})
        # What is left inside is one plain product, so equal sums are equal.
        result = result + outer * (_call("sum_l", Expr({inner: 1}), count) if inner else count)
    return result


def as_size(x: Any) -> Any:
    """The value as an Expr, a Python number or an array that cannot overflow; TypeError if it is none.

    Integer arrays become object arrays of Python ints, other floats float64, NumPy scalars plain numbers.
    """
    if type(x) is int or type(x) is float or isinstance(x, Expr | Pair):
        return x
    if not _is_array(x):
        if (exact := _exact(x)) is None:
            raise TypeError(f"{x!r} is no int, Fraction, float, Expr or array of numbers")
        return exact
    import numpy as np

    array = np.asarray(x)
    if array.dtype.kind in "iu":
        array = array.astype(object)
    elif array.dtype.kind == "f":
        array = array.astype(np.float64, copy=False)
    elif array.dtype.kind == "O" and all(_exact(entry) is not None for entry in array.flat):
        array = _tidy(array, False)
    else:
        raise TypeError(f"an array of {array.dtype} is no array of integers or floats")
    return array if array.ndim else array.item()


def evaluate(size: Any, env: Mapping[str, Any]) -> Any:
    """Expr.evaluate for any size: a plain number is its own value."""
    return size.evaluate(env) if isinstance(size, Expr) else size


def substitute(size: Size, rules: Mapping[Any, Size]) -> Size:
    """Expr.substitute for any size."""
    return size.substitute(rules) if isinstance(size, Expr) else size


def settled(size: Size, env: Mapping[str, Any]) -> Size:
    """The size without the roundings that are exact at env: ceil_div(V, 8) is V/8 where 8 divides V."""
    result: Size = 0
    for monomial, c in _terms(size).items():
        term: Size = c
        for atom, power in monomial:
            term = term * _settled_atom(atom, env) ** power
        result = result + term
    return result


def _settled_atom(atom: str, env: Mapping[str, Any]) -> Any:
    if not isinstance(atom, Call) or atom.function == "sum_l":
        return _expr(atom)
    args = [settled(arg, env) for arg in atom.args]
    if atom.function not in ("ceil_to", "ceil_div") or isinstance(args[1], Expr):
        return FUNCTIONS[atom.function](*args)
    from math import lcm

    a, b = args
    if evaluate(a, env) % b == 0:
        return a if atom.function == "ceil_to" else divide(a, b)  # type: ignore[arg-type]
    whole = lcm(*(c.denominator for c in _terms(a).values()))  # no fractions inside
    return ceil_div(a * whole, b * whole) if atom.function == "ceil_div" else ceil_to(a, b)


def to_text(size: Size, style: str = "unicode", collect: Iterable[str] = ()) -> str:
    """Expr.format for any size."""
    shown = formula_of(size)
    return shown.format(style, collect) if isinstance(shown, Expr) else _term_text(shown, (), style)


def formula(size: Size, style: str = "unicode") -> str:
    """A formula as people read it: collected by the powers of layer counts and model widths."""
    if not isinstance(size, Expr):
        return f"{size:,}"
    return to_text(size, style, sorted(s for s in size.symbols() if s[0] in "LD" and (len(s) == 1 or s[1] == "_")))


# ---- Terms


def _expr(atom: str) -> Expr:
    return Expr({((atom, 1),): 1})


def _terms(x: Size) -> Terms:
    if isinstance(x, Expr):
        return x._terms
    exact = _exact(x)
    if exact is None:
        raise TypeError(f"{x!r} cannot enter an exact expression, which takes ints, Fractions and Exprs")
    return {(): exact} if exact else {}


def _exact(x: Any) -> Number | None:
    """The int or, only if not whole, the Fraction that x is; None for all else, such as floats and bools."""
    if type(x) is int:
        return x
    if isinstance(x, bool) or not hasattr(x, "denominator"):  # what rationals have, NumPy's integers too
        return None
    return int(x.numerator) if x.denominator == 1 else x


def _quotient(a: Number, b: Number) -> Number:
    if isinstance(a, int) and isinstance(b, int) and a % b == 0:
        return a // b
    from fractions import Fraction  # seldom needed, and slow to import

    exact = Fraction(a, b)
    return exact if exact.denominator > 1 else int(exact)


def _accumulate(terms: Terms, monomial: Monomial, coefficient: Number) -> None:
    total = terms.get(monomial, 0) + coefficient
    if total:
        terms[monomial] = total if isinstance(total, int) or total.denominator > 1 else int(total)
    else:
        terms.pop(monomial, None)


def _size(terms: Terms) -> Size:
    """Ints stay ints: a constant is a number, the rest is an Expr."""
    return terms.get((), 0) if terms.keys() <= {()} else Expr(terms)


def _product(a: Monomial, b: Monomial) -> Monomial:
    if not a or not b:
        return a or b
    powers = dict(a)
    for atom, power in b:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted(powers.items()))


def _monomial(x: str | Expr) -> Monomial:
    """The single monomial that x is, in text or as an Expr; ValueError for anything else."""
    size = parse(x) if isinstance(x, str) else x
    if isinstance(size, Expr) and list(size._terms.values()) == [1]:
        return next(iter(size._terms))
    raise ValueError(f"{x} is not a symbol or a product of symbols")


def _names(x: Any) -> Iterator[str]:
    for monomial in x._terms if isinstance(x, Expr) else ():
        for atom, _ in monomial:
            if isinstance(atom, Call):
                for arg in atom.args:
                    yield from _names(arg)
            else:
                yield atom


def _varies(x: Any) -> bool:
    """Whether x differs from layer to layer."""
    return isinstance(x, Expr) and any(_atom_varies(atom) for monomial in x._terms for atom, _ in monomial)


def _atom_varies(atom: str) -> bool:
    if isinstance(atom, Call):
        return atom.function != "sum_l" and any(map(_varies, atom.args))
    return atom.endswith(PER_LAYER)


def _divide_out(size: Size, product: Monomial, by: Size) -> Size:
    result: Size = 0
    for monomial, c in _terms(size).items():
        powers = dict(monomial)
        times = min(powers.get(atom, 0) // power for atom, power in product)
        term: Size = by**times * c
        for atom, power in monomial:
            factor = _map_args(atom, lambda arg: _divide_out(arg, product, by))
            term = term * factor ** (power - times * dict(product).get(atom, 0))
        result = result + term
    return result


# ---- Functions


def _call(function: str, *args: Size) -> Expr:
    for arg in args:
        _terms(arg)  # refuses floats and arrays, which cannot stand beside symbols
    shown = args[:1] if function == "sum_l" and args[1] == _expr("L") else args
    call = Call(f"{function}({', '.join(to_text(arg, 'ascii') for arg in shown)})")
    call.function, call.args = function, args
    return _expr(call)


def _map_args(atom: str, change: Callable[[Size], Any]) -> Any:
    """The atom with its arguments changed: a function is applied anew, a symbol is itself."""
    return FUNCTIONS[atom.function](*map(change, atom.args)) if isinstance(atom, Call) else _expr(atom)


def _ceil(function: str, a: Any, b: Any) -> Any:
    if isinstance(a, Pair) or isinstance(b, Pair):
        return _by_halves(lambda a, b: _ceil(function, a, b), a, b)
    a, b = as_size(a), as_size(b)
    if not isinstance(b, Expr) and not ((b > 0).all() if _is_array(b) else b > 0):
        raise ValueError(f"{function} needs a positive divisor, not {b}")
    if isinstance(a, Expr) or isinstance(b, Expr):
        return _call(function, a, b)
    quotient = -(-a // b)
    return _tidy(quotient * b if function == "ceil_to" else quotient, _is_float(a) or _is_float(b))


def _extreme(function: str, args: Iterable[Any]) -> Any:
    args, pick = list(args), min if function == "min" else max
    if any(isinstance(arg, Pair) for arg in args):
        return _by_halves(lambda *halves: _extreme(function, halves), *args)
    args = [inner for arg in map(as_size, args) for inner in _flattened(arg, function)]
    exprs = {arg for arg in args if isinstance(arg, Expr)}
    numbers = [arg for arg in args if not isinstance(arg, Expr)]
    if any(map(_is_array, numbers)):
        if exprs:
            raise TypeError(f"{function} takes no array beside a symbolic size; bind the symbols first")
        import numpy as np

        elementwise = np.minimum if function == "min" else np.maximum
        result = numbers[0]
        for arg in numbers[1:]:
            result = elementwise(result, arg)
        return _tidy(result, any(map(_is_float, numbers)))
    unique = sorted(exprs, key=lambda x: sorted((_order(m), c) for m, c in x._terms.items()))
    if numbers:
        unique.append(pick(numbers))
    return unique[0] if len(unique) == 1 else _call(function, *unique)


def _flattened(x: Any, function: str) -> tuple[Any, ...]:
    """The arguments of x, if x is nothing but a call of that function: min(min(C, W), 8) is min(C, W, 8)."""
    atoms = [atom for monomial in x._terms for atom, _ in monomial] if isinstance(x, Expr) else []
    sole = atoms[0] if len(atoms) == 1 else ""
    return sole.args if isinstance(sole, Call) and sole.function == function and x == _expr(sole) else (x,)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": minimum,
    "max": maximum,
    "ceil_to": ceil_to,
    "ceil_div": ceil_div,
    "sum_l": layer_sum,
}


# ---- Numbers and arrays


def _is_array(x: Any) -> bool:
    return hasattr(x, "dtype")


def _is_float(x: Any) -> bool:
    return isinstance(x, float) or bool(getattr(x, "dtype", None) == "float64")


def _tidy(value: Any, floats: bool) -> Any:
    """A result with ints where ints are due (Fraction(4, 2) is 2); with floats, an array is float64."""
    if not _is_array(value):
        exact = _exact(value)
        return value if exact is None else exact
    if floats:
        return value.astype("float64", copy=False)
    if all(type(entry) is int for entry in value.flat):
        return value
    result = value.copy()
    result.flat = [_exact(entry) for entry in value.flat]
    return result


def _binding(name: str, value: Any) -> Any:
    """The value of a symbol, ready for arithmetic; a tuple for a per-layer symbol bound to a sequence."""
    per_layer = name.endswith(PER_LAYER)
    try:
        if per_layer and isinstance(value, (list, tuple)):
            return tuple(map(as_size, value))
        if per_layer and _is_array(value) and value.ndim:
            raise TypeError("an array could mean a sweep; bind a list or tuple, one value for each layer")
        return as_size(value)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None


def _value(x: Size, values: Mapping[str, Any]) -> Any:
    if not isinstance(x, Expr):
        return x
    total: Any = 0
    for monomial, term in x._terms.items():
        for atom, power in monomial:
            value = _atom_value(atom, values)
            term = term * (value if power == 1 else value**power)
        total = total + term
    return total


def _atom_value(atom: str, values: Mapping[str, Any]) -> Any:
    if isinstance(values.get(atom), tuple):
        raise TypeError(f"{atom} has one value per layer, so it needs a layer_sum around it")
    if isinstance(atom, Call) and atom.function == "sum_l":
        return _layer_sum_value(atom, values)
    return values[atom] if atom in values else _map_args(atom, lambda arg: _value(arg, values))


def _layer_sum_value(call: Call, values: Mapping[str, Any]) -> Any:
    body, count = call.args[0], _value(call.args[1], values)
    names = {name for name in _names(body) if name.endswith(PER_LAYER)}
    sequences = {name: values[name] for name in names if isinstance(values.get(name), tuple)}
    for name, sequence in sequences.items():
        if not isinstance(count, Expr) and (_is_array(count) or len(sequence) != count):
            raise ValueError(f"{name} has {len(sequence)} values, one for each layer, but layers = {count}")
    if not sequences or isinstance(count, Expr) or names - values.keys():  # then the sum itself has to wait
        return layer_sum(_value(body, {k: v for k, v in values.items() if k not in sequences}), count)
    layers = zip(*sequences.values(), strict=True)
    return sum(_value(body, {**values, **dict(zip(sequences, layer, strict=True))}) for layer in layers)


# ---- Text


def _rank(atom: str) -> tuple[int, str, str]:
    """Where an atom stands in a product: known symbols, other symbols, functions."""
    if isinstance(atom, Call):
        return len(RANKS) + 1, atom, ""
    base = atom.partition("_")[0]
    return RANKS.get(base, len(RANKS)), base, atom


def _order(monomial: Monomial) -> tuple[int, list[tuple[tuple[int, str, str], int]]]:
    """Sorts the highest total degree first, then the highest power of the first-ranked atom."""
    return -sum(power for _, power in monomial), sorted((_rank(atom), -power) for atom, power in monomial)


def _sum_text(parts: list[str]) -> str:
    return " + ".join(parts).replace("+ -", "- ")


def _term_text(coefficient: Number, monomial: Monomial, style: str) -> str:
    factors: list[str] = []
    for atom, power in sorted(monomial, key=lambda pair: _rank(pair[0])):
        if factors and factors[-1].startswith(("Σ", r"\sum")):
            factors[-1] = f"({factors[-1]})"  # a sum sign seems to reach to the end of the product
        text = _atom_text(atom, style)
        if power > 1:
            text = f"({text})" if text.startswith(("Σ", r"\sum")) else text
            raised = {"unicode": str(power).translate(RAISED), "ascii": f"^{power}", "latex": f"^{{{power}}}"}
            text += raised[style]
        factors.append(text)
    size = coefficient if coefficient > 0 else -coefficient
    if size != 1 or not factors:
        fraction = style == "latex" and size.denominator > 1
        factors.insert(0, rf"\frac{{{size.numerator}}}{{{size.denominator}}}" if fraction else str(size))
    return "-" * (coefficient < 0) + STYLES[style].join(factors)


def _atom_text(atom: str, style: str) -> str:
    if style == "ascii":
        return str(atom)
    if not isinstance(atom, Call):
        return _latex_name(atom) if style == "latex" else atom
    args = [to_text(arg, style) for arg in atom.args]
    if style == "latex":
        if atom.function in ("min", "max"):
            return rf"\{atom.function}({', '.join(args)})"
        return {
            "ceil_to": rf"\lceil {args[0]} \rceil_{{{args[1]}}}",
            "ceil_div": rf"\left\lceil \frac{{{args[0]}}}{{{args[1]}}} \right\rceil",
            "sum_l": rf"\sum_{{l=1}}^{{{args[1]}}} {args[0]}",
        }[atom.function]
    if atom.function == "sum_l" and args[1] == "L":
        return f"Σₗ ({args[0]})" if "·" in args[0] else f"Σₗ {args[0]}"
    return f"{atom.function}({', '.join(args)})"


def _latex_name(name: str) -> str:
    parts = name.split("_")
    base, *subscripts = (p if p.isdigit() or len(p) == 1 else rf"\mathrm{{{p}}}" for p in parts)
    return f"{base}_{{{','.join(subscripts)}}}" if subscripts else base


def parse(text: str) -> Size:
    """The size that a Unicode or ASCII form stands for; ValueError says where what was expected."""
    return _Parser(text).parse()


class _Parser:
    """Recursive descent: sum = term ± term ..., term = power · power / number ..., power = atom ^ n."""

    def __init__(self, text: str) -> None:
        import re  # only to parse: it is not free to import

        token = rf"(?P<number>[0-9]+)|(?P<name>[A-Za-z]\w*)|(?P<exponent>[{SUPERSCRIPTS}]+)|Σₗ|\*\*|\S"
        self.text = text
        self.tokens = [(m[0], m.lastgroup, m.start()) for m in re.finditer(token, text, re.ASCII)]
        self.tokens.append(("", "end", len(text)))
        self.at = self.depth = 0

    def parse(self) -> Size:
        result = self.sum()
        self.require("an operator or the end", "end")
        return result

    def accept(self, *wanted: str) -> str | None:
        """The next token, consumed, if it or its kind is wanted."""
        token, kind, _ = self.tokens[self.at]
        if token not in wanted and kind not in wanted:
            return None
        self.at += 1
        return token

    def require(self, expected: str, *wanted: str) -> str:
        token = self.accept(*wanted)
        if token is None:
            raise self.error(expected, self.at)
        return token

    def error(self, expected: str, at: int) -> ValueError:
        token, _, position = self.tokens[at]
        found = repr(token) if token else "the end"
        return ValueError(f"{self.text!r}, character {position + 1}: expected {expected}, found {found}")

    def sum(self) -> Size:
        result: Size = 0
        sign = self.accept("-", "−", "+") or "+"
        while sign:
            result = result + self.term() * (1 if sign == "+" else -1)
            sign = self.accept("-", "−", "+") or ""
        return result

    def term(self) -> Size:
        result = self.power()
        while sign := self.accept("*", "·", "×", "/"):
            at, factor = self.at, self.power()
            if sign != "/":
                result = result * factor
            elif isinstance(factor, Expr | Pair) or factor == 0:
                raise self.error("a number other than 0 to divide by", at)
            else:
                result = divide(result, factor)
        return result

    def power(self) -> Size:
        base = self.atom()
        if self.accept("^", "**"):
            exponent = self.require("a whole number as exponent", "number")
        elif not (exponent := (self.accept("exponent") or "").translate(LOWERED)):
            return base
        if len(exponent) > 4 or int(exponent) > MAX_EXPONENT:
            raise self.error(f"an exponent up to {MAX_EXPONENT}", self.at - 1)
        return base ** int(exponent)

    def atom(self) -> Size:
        result: Size
        at = self.at
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"at most {MAX_DEPTH} levels of nesting", at)
        if self.accept("("):
            result = self.sum()
            self.require("an operator or ')'", ")")
        elif self.accept("Σₗ"):
            result = layer_sum(self.power())
        elif number := self.accept("number"):
            result = int(number)
        else:
            name = self.require("a number, a symbol, a function or '('", "name")
            result = self.call(name, at) if self.accept("(") else self.symbol(name, at)
        self.depth -= 1
        return result

    def symbol(self, name: str, at: int) -> Size:
        try:
            return symbol(name)
        except ValueError:
            raise self.error("a symbol such as D, F_e or L_local", at) from None

    def call(self, name: str, at: int) -> Size:
        if name not in FUNCTIONS:
            raise self.error(f"{', '.join(FUNCTIONS)} or an operator before '('", at)
        args = [self.sum()]
        while self.accept(","):
            args.append(self.sum())
        self.require("an operator, ',' or ')'", ")")
        try:
            return FUNCTIONS[name](*args)  # type: ignore[no-any-return]
        except (TypeError, ValueError) as error:
            raise self.error(f"valid arguments ({error})", at) from error
