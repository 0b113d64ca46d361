//! Catalogs of literal layouts.
