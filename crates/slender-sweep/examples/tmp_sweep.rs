//! temporary
use slender_sweep::*;
fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap();
    let mut options = SweepOptions::new(
        args.map(Into::into).collect(),
        dir.into(),
        "/tmp/syn/slender".into(),
    );
    options.jobs = 2;
    let stop = Stop::on_signals().unwrap();
    let reporter = Reporter::stderr();
    match run_sweep(&options, &stop, &|e| reporter.show(e)) {
        Ok(o) => eprintln!("{:?}", o.report.html),
        Err(e) => eprintln!("error: {e}"),
    }
}
