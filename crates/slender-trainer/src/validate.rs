//! Validation loss over fixed windows: nats per token and bits per byte.
//!
//! Bits per byte counts the text bytes of exactly the scored tokens, so tokenizers of different
//! vocabularies can be compared: `sum of nats / ln 2 / bytes`.

use crate::error::TrainError;
use burn::tensor::{Device, Int, Tensor, TensorData};
use slender_data::ValidWindows;
use slender_model::{Dropout, Transformer};

/// Loss on the validation side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValidLoss {
    /// Nats per token.
    pub loss: f64,
    /// Bits per byte of text.
    pub bits_per_byte: f64,
    /// Tokens scored.
    pub tokens: u64,
}

impl ValidLoss {
    /// Names and values of a metrics line.
    pub(crate) fn values(&self) -> [(&'static str, f64); 3] {
        [
            ("loss", self.loss),
            ("bits_per_byte", self.bits_per_byte),
            ("valid_tokens", self.tokens as f64),
        ]
    }
}

/// Scores every window of `windows`, `batch_size` at a time, without gradients.
///
/// `document_mask` keeps attention inside each document, as in training.
///
/// # Errors
/// None at present; device errors surface as panics in Burn.
pub fn validation_loss(
    model: &Transformer,
    windows: &ValidWindows,
    document_mask: bool,
    batch_size: usize,
    device: &Device,
) -> Result<ValidLoss, TrainError> {
    let device = device.clone().without_autodiff();
    let mut nats = 0.0_f64;
    for batch in windows.batches(batch_size) {
        let dims = [batch.batch_size, batch.seq_len];
        let tensor =
            |values: Vec<i32>| Tensor::<2, Int>::from_data(TensorData::new(values, dims), &device);
        let segments = document_mask.then(|| tensor(batch.segments));
        let sum = model.loss_sum(
            tensor(batch.inputs),
            tensor(batch.targets),
            segments,
            &mut Dropout::off(),
        );
        nats += f64::from(sum.into_data().iter::<f32>().next().unwrap_or(f32::NAN)); // [1]
    }
    let (tokens, bytes) = (windows.total_tokens(), windows.total_bytes());
    Ok(ValidLoss {
        loss: nats / tokens as f64,
        bits_per_byte: nats / std::f64::consts::LN_2 / bytes.max(1) as f64,
        tokens,
    })
}
