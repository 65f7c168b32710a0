"""Studies of a problem: is its gradient right, and what did compiling it take?"""
