//! `maintenant-gateway`: MCP in front of one or several collectors.

use std::process::ExitCode;

use maintenant_gateway::config::{Args, Command};
use maintenant_gateway::{check, client_config};
use maintenant_serve::process::{self, install_crypto};
use tokio::runtime::Builder;

fn main() -> ExitCode {
    process::main(run)
}

fn run(args: &Args) -> anyhow::Result<()> {
    install_crypto();
    if let Some(Command::Healthcheck) = args.command {
        return args.healthcheck();
    }
    if let Some(Command::ClientConfig(options)) = &args.command {
        return client_config::run(options, &args.given_to_clients()?);
    }
    let (config, logging) = args.check()?;
    logging.init();
    // One client on stdin needs no second thread, and starts sooner without.
    let mut runtime =
        if config.mcp.http { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    let runtime = runtime.enable_all().build()?;
    let result = match &args.command {
        Some(Command::Check { token, json }) => {
            runtime.block_on(check::run(config, token.as_deref(), *json))
        }
        _ => runtime
            .block_on(maintenant_gateway::run(config, || args.check().map(|(config, _)| config))),
    };
    // A thread may still be reading stdin.
    runtime.shutdown_background();
    result
}
