//! The rules of SignalBeam: aggregates, commands, events, ids. Pure: no I/O, no clock, no randomness.
