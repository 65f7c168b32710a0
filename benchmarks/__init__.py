"""The library beside others on the same work: ``make bench``, or ``python -m benchmarks`` in the checkout.

Each case is one file in ``benchmarks/cases``: the work stated once, the few lines a user of this library would write,
and the same work by others. ``harness`` says what a case is made of, ``runner`` gives every peer a process of its own
and lets the processes of a case take turns, ``worker`` is what runs in them, ``report`` and ``picture`` write down
what came out.
"""
