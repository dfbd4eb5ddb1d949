//! `maintenant-collector`: watches Docker, stores what it sees, serves the REST API.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use maintenant_collector::config::{Args, Command};
use maintenant_collector::{app, backup};
use maintenant_serve::clock;
use maintenant_serve::process::{exit_code, install_crypto};
use maintenant_serve::settings::EXIT_USAGE;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { EXIT_USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    exit_code(run(&args))
}

fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(Command::Backup { file }) = &args.command {
        return backup(Path::new(&args.collector.db), file);
    }
    let (config, logging) = args.check()?;
    logging.init();
    install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(app::run(config, clock::now()))
}
