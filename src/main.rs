//! The command line of ocifs.

fn main() {}
