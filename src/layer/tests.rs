//! Layers from literal tars.
