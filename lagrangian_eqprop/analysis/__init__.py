"""Studies of a problem: is its gradient right, what did compiling take, does its path return, is it chaotic?"""

from .chaos import Lyapunov, lyapunov
from .retrace import Retrace, retrace

__all__ = ["Lyapunov", "Retrace", "lyapunov", "retrace"]
