"""The fault harness: a night is killed, cut off, refused and starved at each of its steps, and must come out whole.

`make faults POINTS=300 SEED=1`; docs/faults.md says what is broken how, and what is promised.
"""
