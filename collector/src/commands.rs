//! What the program does instead of collecting, when it is told to.

use std::path::Path;

use maintenant_serve::args::{ListenArgs, LogArgs};
use maintenant_serve::process::install_crypto;
use maintenant_serve::settings::Faults;
use maintenant_serve::{health, token};

use crate::config::{CollectorArgs, Command};
use crate::socket_proxy;
use crate::store::backup::backup;

impl Command {
    /// Runs it to its end; `default_address` is where the program listens when nothing is set.
    pub fn run(
        &self,
        listen: &ListenArgs,
        collector: &CollectorArgs,
        log: &LogArgs,
        default_address: &str,
    ) -> anyhow::Result<()> {
        install_crypto();
        let mut faults = Faults::default();
        match self {
            Self::Backup { file } => backup(Path::new(&collector.db), file),
            Self::Healthcheck { path } => {
                let listen = listen.check(default_address, &mut faults);
                faults.finish()?;
                health::probe(&listen, path)
            }
            Self::Token { file } => {
                let logging = log.check(&mut faults);
                faults.finish()?;
                logging.init();
                let what = if token::make(file)? { "made" } else { "kept as it is" };
                tracing::info!(file = %file.display(), "token {what}");
                Ok(())
            }
            Self::SocketProxy { only } => {
                let logging = log.check(&mut faults);
                let address = listen.check(default_address, &mut faults).address;
                let socket = socket_proxy::socket(collector.docker_host.as_deref(), &mut faults);
                faults.finish()?;
                logging.init();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(socket_proxy::run(&address, &socket, only))
            }
        }
    }
}
