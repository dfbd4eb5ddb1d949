//! A process's ends: signals, exit codes, its cryptography.

use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::listener::Drain;
use crate::settings::{EXIT_USAGE, SettingsError};

/// SIGTERM and SIGINT, heard from its making on: make it before saying that the program listens, or
/// an early signal ends the process as the kernel does.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn listen() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one and names it.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Runs `work` to its end. The first signal begins the drain, the second cuts it short.
    pub async fn drain<T>(mut self, drain: &Drain, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        tokio::select! {
            done = &mut work => return done,
            signal = self.next() => tracing::info!("stopping: {signal}, no new connections"),
        }
        drain.begin.cancel();
        tokio::select! {
            done = &mut work => return done,
            signal = self.next() => tracing::warn!("stopping: {signal} again, cutting"),
        }
        drain.cut.cancel();
        work.await
    }
}

/// SIGHUP, heard from its making on: the wish to read settings and files again. Without it, SIGHUP
/// ends the process.
pub struct Hangups(Signal);

impl Hangups {
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// Makes aws-lc the one cryptography of the process. The first call wins; later ones do nothing.
pub fn install_crypto() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// A program's `main`: reads its arguments and environment, runs it, and says how it went. Wrong
/// arguments exit with 64, `--help` and `--version` with 0.
pub fn main<A: clap::Parser>(run: impl FnOnce(&A) -> anyhow::Result<()>) -> ExitCode {
    match A::try_parse() {
        Ok(args) => exit_code(run(&args)),
        Err(error) => {
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS }
        }
    }
}

/// 0 after a clean end, 64 for bad settings, 1 for everything else; the reason goes to stderr.
#[expect(clippy::print_stderr, reason = "the last words of a process, logger or not")]
fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("error: {error:#}");
    if error.is::<SettingsError>() { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
}
