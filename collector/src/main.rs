//! `maintenant-collector`: watches Docker, stores what it sees, serves the REST API.

use std::path::Path;
use std::process::ExitCode;

use maintenant_collector::config::{Args, Command};
use maintenant_collector::{app, backup};
use maintenant_serve::clock;
use maintenant_serve::process::{self, install_crypto};

fn main() -> ExitCode {
    process::main(run)
}

fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(Command::Backup { file }) = &args.command {
        return backup(Path::new(&args.collector.db), file);
    }
    let (config, logging) = args.check()?;
    logging.init();
    install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(app::run(config, clock::now()));
    // A thread that asks a hung filesystem for its size would be waited for.
    runtime.shutdown_background();
    result
}
