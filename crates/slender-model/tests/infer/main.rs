//! Inference: the cache changes nothing, and text is what the tokens say.

mod generation;
mod logits;
mod models;
mod text;
