//! Tables of layers and the trees they make.

mod kit;
mod layers;
mod links;
mod lost;
mod model;
mod names;
mod records;
mod views;
mod whiteouts;
