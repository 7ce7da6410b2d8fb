//! The project's tokenizer as evaluation uses it: as Python's `tokenizer(text)` would.
//!
//! Special tokens written in a text become their ids, as the harness's tokenizer makes them, and BOS is
//! never put in front of a text that already begins with it.

use slender_data::Tokenizer;

use crate::error::EvalError;
use crate::model::TextEncoder;

impl TextEncoder for Tokenizer {
    fn encode(&self, text: &str, add_bos: bool) -> Result<Vec<u32>, EvalError> {
        let mut ids = self.encode_with_special(text);
        match self.document_start_id() {
            Some(bos) if add_bos && ids.first() != Some(&bos) => ids.insert(0, bos),
            _ => {}
        }
        Ok(ids)
    }

    fn prefix_token(&self) -> Option<u32> {
        self.document_start_id()
    }

    fn fingerprint(&self) -> String {
        self.hash().to_owned()
    }
}
