//! `maintenant-collector`: watches Docker, stores what it sees, serves the REST API.

use std::process::ExitCode;

use maintenant_collector::app;
use maintenant_collector::config::Args;
use maintenant_serve::clock;
use maintenant_serve::process::{self, install_crypto};

fn main() -> ExitCode {
    process::main(run)
}

fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(command) = &args.command {
        return command.run(&args.listen, &args.collector, &args.log, "127.0.0.1:8081");
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
