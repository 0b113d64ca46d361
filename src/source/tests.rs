//! Archives from literals.
