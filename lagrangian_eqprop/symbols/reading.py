"""Reading: a sympy expression becomes nodes of the expression graph.

The reader knows three kinds of leaves: local coordinates and their velocities, declared symbols, and the
time. Whatever else it meets it refuses by name. Sums of exponentials inside a logarithm are read as one
function that subtracts the largest exponent, so that a softmax or a log cosh cannot overflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import sympy as sp

from .graph import Graph, Node, Number, plain

_UNARY = {
    sp.sin: "sin", sp.cos: "cos", sp.tan: "tan", sp.exp: "exp", sp.log: "log",
    sp.sinh: "sinh", sp.cosh: "cosh", sp.tanh: "tanh",
    sp.asin: "arcsin", sp.acos: "arccos", sp.atan: "arctan",
    sp.asinh: "arcsinh", sp.acosh: "arccosh", sp.atanh: "arctanh",
    sp.Abs: "magnitude", sp.sign: "sign", sp.floor: "floor", sp.ceiling: "ceil",
}  # fmt: skip
_RELATIONS = {sp.StrictLessThan: "less", sp.LessThan: "less_equal"}
_ENTIRE = (sp.conjugate, sp.re)  # coordinates and parameters are real


class Reader:
    """Reads the expressions of one term into a graph.

    Parameters
    ----------
    graph : Graph
        Where the nodes go.
    leaves : mapping
        sympy leaf (coordinate, velocity, symbol, time) to node.
    where : str
        How messages call the expression.
    """

    def __init__(self, graph: Graph, leaves: Mapping[sp.Basic, Node], where: str) -> None:
        self.graph = graph
        self.where = where
        self._known: dict[sp.Basic, Node] = dict(leaves)

    def read(self, expression: Any) -> Node:
        """The node of a sympy expression."""
        node = self._known.get(expression)
        if node is None:
            node = self._known[expression] = self._read(expression)
        return node

    def _read(self, e: Any) -> Node:
        graph = self.graph
        if isinstance(e, (sp.Rational, sp.Float)) or e.is_NumberSymbol:
            return graph.number(_number(e))
        if e.is_Add:
            return graph.sum([(self.read(a), 1) for a in e.args])
        if e.is_Mul:
            return graph.times(*(self.read(a) for a in e.args))
        if isinstance(e, sp.exp):
            return graph.call("exp", self.read(e.args[0]))
        if e.is_Pow:
            if e.base is sp.E:
                return graph.call("exp", self.read(e.exp))
            return graph.power(self.read(e.base), self.read(e.exp))
        if isinstance(e, sp.log):
            return self._logarithm(e.args[0])
        name = _UNARY.get(type(e))
        if name is not None:
            return graph.call(name, self.read(e.args[0]))
        if isinstance(e, (sp.Max, sp.Min)):
            name = "maximum" if isinstance(e, sp.Max) else "minimum"
            node, *rest = (self.read(a) for a in e.args)
            for other in rest:
                node = graph.call(name, node, other)
            return node
        if isinstance(e, sp.Heaviside):
            return graph.call("heaviside", self.read(e.args[0]))
        if isinstance(e, sp.atan2):
            return graph.call("arctan2", self.read(e.args[0]), self.read(e.args[1]))
        if isinstance(e, sp.Piecewise):
            return self._piecewise(e)
        if isinstance(e, _ENTIRE):
            return self.read(e.args[0])
        if isinstance(e, sp.im):
            return graph.zero
        raise self._refusal(e)

    def _logarithm(self, argument: Any) -> Node:
        """log(c_0 + sum of c_i exp(a_i)) with positive c is one stable function; log cosh x is its case x, -x."""
        graph = self.graph
        if isinstance(argument, sp.cosh):
            x = self.read(argument.args[0])
            both = graph.logsumexp([x, graph.sum([(x, -1)])])
            return graph.sum([(both, 1), (graph.call("log", graph.number(2)), -1)])
        exponents = []
        for part in argument.args if argument.is_Add else ():
            factor, rest = part.as_coeff_Mul()
            if not (factor.is_number and factor.is_positive):
                break
            if rest is sp.S.One:
                exponent = graph.zero
            elif isinstance(rest, sp.exp):
                exponent = self.read(rest.args[0])
            else:
                break
            offset = graph.zero if factor == 1 else graph.call("log", graph.number(_number(factor)))
            exponents.append(graph.sum([(exponent, 1), (offset, 1)]))
        else:
            if len(exponents) > 1:
                return graph.logsumexp(exponents)
        return graph.call("log", self.read(argument))

    def _piecewise(self, e: sp.Piecewise) -> Node:
        pairs = list(e.args)
        if pairs[-1][1] != sp.true:
            raise ValueError(f"{self.where} must be defined everywhere; {e} has no last branch with condition True")
        node = self.read(pairs[-1][0])
        for value, condition in reversed(pairs[:-1]):
            node = self.graph.call("select", self._condition(condition), self.read(value), node)
        return node

    def _condition(self, c: Any) -> Node:
        graph = self.graph
        if isinstance(c, (sp.StrictGreaterThan, sp.GreaterThan)):
            c = c.reversed
        if type(c) in _RELATIONS:
            return graph.call(_RELATIONS[type(c)], self.read(c.lhs), self.read(c.rhs))
        if isinstance(c, sp.Ne):
            return graph.call("negation", self._condition(sp.Eq(*c.args, evaluate=False)))
        if isinstance(c, sp.Eq):
            return graph.call("equal", self.read(c.lhs), self.read(c.rhs))
        if isinstance(c, (sp.And, sp.Or)):
            name = "both" if isinstance(c, sp.And) else "either"
            node, *rest = (self._condition(a) for a in c.args)
            for other in rest:
                node = graph.call(name, node, other)
            return node
        if isinstance(c, sp.Not):
            return graph.call("negation", self._condition(c.args[0]))
        raise self._refusal(c)

    def _refusal(self, e: Any) -> ValueError:
        if e is sp.I or e.is_number:
            return ValueError(f"{self.where} must be real and finite; it contains {e}")
        if isinstance(e, sp.Derivative):
            return ValueError(f"{self.where} may contain coordinates and their first time derivatives; it contains {e}")
        if e.is_Symbol or isinstance(e, sp.core.function.AppliedUndef):
            return ValueError(f"{self.where} uses {str(e)!r}, which is not declared")
        known = sorted({kind.__name__ for kind in _UNARY} | {"Max", "Min", "Heaviside", "atan2", "Piecewise", "sqrt"})
        return ValueError(f"{self.where} may use the functions {', '.join(known)}; it contains {type(e).__name__}")


def _number(e: Any) -> Number:
    if isinstance(e, sp.Integer):
        return int(e)
    if isinstance(e, sp.Rational):
        return plain(Fraction(int(e.p), int(e.q)))
    return plain(float(e))
