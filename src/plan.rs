//! A recipe becomes a plan: steps in topological order, printable and comparable; a pure value.
