//! tmp
use slender_config::*;
use slender_data::*;
use std::io::Write;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    if a[1] == "ids" {
        // ids TOKENIZER TEXTFILE: one line of ids per line
        let t = Tokenizer::from_file(a[2].as_ref()).unwrap();
        let text = std::fs::read_to_string(&a[3]).unwrap();
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        for line in text.split('\n') {
            let ids: Vec<String> = t.encode_with_special(line).iter().map(|i| i.to_string()).collect();
            writeln!(out, "{}", ids.join(" ")).unwrap();
        }
        return;
    }
    let source = SourceConfig { kind: SourceKind::Files, name: None, paths: Some(vec![a[2].clone().into()]), repo: None, revision: None, files: None, split: None, text_column: "text".into(), document_separator: Some("<|endoftext|>".into()), weight: None, role: SourceRole::Split };
    let bpe = a[3].parse::<usize>().ok();
    let tokenizer = TokenizerConfig { kind: if bpe.is_some() { TokenizerKind::Bpe } else { TokenizerKind::File }, vocab_size: bpe, path: (bpe.is_none()).then(|| a[3].clone().into()), repo: None, revision: None, file: None, train_bytes: None };
    let c = DataConfig { sources: vec![source], tokenizer, valid_fraction: 0.01, document_mask: false, max_bytes: 0, max_tokens: 0, order_seed: None, cache_dir: Some(a[4].clone().into()) };
    let t = std::time::Instant::now();
    let p = prepare(&c, &PrepareOptions::from_env()).unwrap();
    println!("{:?} fresh={} train={} valid={}", t.elapsed(), p.fresh, p.manifest.train_tokens(), p.manifest.valid_tokens());
    let t = std::time::Instant::now();
    let d = Dataset::open(&p.dir).unwrap();
    let v = d.valid_windows(512, 0).unwrap();
    println!("open+valid {:?}: {} tokens {} bytes; manifest bytes {}", t.elapsed(), v.total_tokens(), v.total_bytes(), p.manifest.sources[0].valid.bytes);
    let t = std::time::Instant::now();
    d.verify().unwrap();
    println!("verify {:?}", t.elapsed());
    println!("{}", std::fs::read_to_string("/proc/self/status").unwrap().lines().find(|l| l.starts_with("VmHWM")).unwrap());
}
