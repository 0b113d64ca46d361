//! One test a bug, named after its symptom, with a comment that says what went wrong.
// None yet.
