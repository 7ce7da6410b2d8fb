//! `slender search shapes`.

use clap::Args;
use slender_config::sweep::{parse_quantity, parse_range};
use std::path::PathBuf;

/// Values of `--depths` and its like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wholes(pub Vec<usize>);

fn wholes(text: &str) -> Result<Wholes, String> {
    let sound = |numbers: &Vec<usize>| !numbers.is_empty() && numbers.iter().all(|n| *n > 0);
    parse_range(text)
        .filter(sound)
        .map(Wholes)
        .ok_or_else(|| "write 12, 4,8,12, 4..62 (both ends included) or \"4..62 by 2\"".to_owned())
}

fn quantity(text: &str) -> Result<f64, String> {
    parse_quantity(text)
        .filter(|number| number.is_finite() && *number > 0.0)
        .ok_or_else(|| "write a number, also with K, M, B or T, such as 125M".to_owned())
}

/// `slender search shapes`.
#[derive(Args, Debug)]
pub struct ShapesArgs {
    /// Sweep file with a `space` table, instead of the options below.
    #[arg(conflicts_with_all = [
        "params", "non_embedding", "train_flops", "decode_bytes", "depths", "head_dim", "tied", "untied",
        "base", "tokens", "vocab", "seq_len", "ffn",
    ])]
    pub file: Option<PathBuf>,
    /// Budget: all parameters, such as 125M.
    #[arg(long, value_parser = quantity)]
    pub params: Option<f64>,
    /// Budget: parameters without embeddings.
    #[arg(long, value_parser = quantity)]
    pub non_embedding: Option<f64>,
    /// Budget: FLOPs of a training on --tokens.
    #[arg(long, value_parser = quantity)]
    pub train_flops: Option<f64>,
    /// Budget: bytes that move to decode one token at 16 bits a number.
    #[arg(long, value_parser = quantity)]
    pub decode_bytes: Option<f64>,
    /// How far a shape may be from the budget, as a share of it; BELOW,ABOVE tells the sides apart.
    #[arg(long, value_delimiter = ',', default_value = "0.05")]
    pub tolerance: Vec<f64>,
    /// Distinct blocks: 12, 4,8,12, 4..62 (both ends included) or "4..62 by 2".
    #[arg(long, value_parser = wholes, default_value = "2..64")]
    pub depths: Wholes,
    /// Width of one head, as --depths. The residual width is heads times this.
    #[arg(long, value_parser = wholes, default_value = "64")]
    pub head_dim: Wholes,
    /// Query heads, as --depths. Default: any number.
    #[arg(long, value_parser = wholes)]
    pub heads: Option<Wholes>,
    /// Query heads for each key-value head, as --depths.
    #[arg(long, value_parser = wholes, default_value = "1")]
    pub kv_ratio: Wholes,
    /// Key-value heads, as --depths, instead of --kv-ratio.
    #[arg(long, value_parser = wholes, conflicts_with = "kv_ratio")]
    pub kv_heads: Option<Wholes>,
    /// Feed-forward widths as shares of the residual width. Default: the paper's rule.
    #[arg(long, value_delimiter = ',')]
    pub ffn_ratio: Vec<f64>,
    /// Multiple that the feed-forward width is rounded to. Default: 256; 64 with --ffn-ratio.
    #[arg(long)]
    pub ffn_multiple_of: Option<usize>,
    /// Feed-forward kind: swiglu, relu or gelu.
    #[arg(long)]
    pub ffn: Option<String>,
    /// Tied embeddings. With --untied: both.
    #[arg(long)]
    pub tied: bool,
    /// Untied embeddings.
    #[arg(long)]
    pub untied: bool,
    /// Orders of layer sharing: none, immediate, repeat-all-over, reverse.
    #[arg(long, value_delimiter = ',', default_value = "none")]
    pub sharing: Vec<String>,
    /// Executions of each shared block, as --depths.
    #[arg(long, value_parser = wholes, default_value = "2")]
    pub repeats: Wholes,
    /// Vocabulary.
    #[arg(long, default_value_t = 32_000)]
    pub vocab: usize,
    /// Tokens of a training sequence, and of the cache that --decode-bytes counts.
    #[arg(long, default_value_t = 2048)]
    pub seq_len: usize,
    /// Training tokens that FLOPs are counted for, such as 0.25T.
    #[arg(long, value_parser = quantity, default_value = "0.25T")]
    pub tokens: f64,
    /// Configuration that vocabulary, sequence length, tokens and feed-forward kind are taken from.
    #[arg(long, conflicts_with_all = ["vocab", "seq_len", "tokens", "ffn"])]
    pub base: Option<PathBuf>,
    /// Of each depth only the shape nearest to the budget.
    #[arg(long)]
    pub closest: bool,
    /// So many of these, evenly spread over the logarithm of depth.
    #[arg(long)]
    pub pick: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
