//! The tree of commands, and the options that all of them have.

use clap::{CommandFactory, Parser, Subcommand};
use gk_api::Operation;

use crate::client::ConnectArgs;
use crate::develop::{debug, dev};
use crate::failure::Failure;
use crate::operate::{
    audit, call, contexts, doctor, hosts, info, jobs, logs, orders, policy, ps, stats, tokens, top,
};
use crate::packages::{install, search, uninstall};
use crate::probe::{conformance, inspect};
use crate::reference::{CompletionArgs, GenerateArgs};
use crate::terminal::{OutputArgs, Terminal};
use crate::{author, trust};

const AFTER_HELP: &str = "\
Exit codes: 0 ok, 1 failed, 2 wrong usage, 3 not found, 4 denied, 5 the host cannot be reached.

The host is the one that --url, --context, GK_URL or GK_CONTEXT name, else the current one of
`gk context list`, else one of this machine by its local socket, else http://127.0.0.1:8080.

Environment:
  GK_URL, GK_CONTEXT           the host
  GK_TOKEN                     the token where the host is an URL, unless --token-file gives one
  GK_ALLOW_HTTP=1              send the token over plain HTTP to another machine
  GK_INDEX                     the index of plugins
  GK_HOST                      the program gk-host, where commands start one of their own
  GOATFLOW_SIGNING_KEY         the key that signs
  GOATFLOW_TRUSTED_KEYS[_FILE] the keys that are trusted
  SOURCE_DATE_EPOCH            the time in signatures and packages
  XDG_CONFIG_HOME              where gk/config.toml and gk/keys are, instead of ~/.config
  NO_COLOR                     no colours";

/// Write, test, sign and ship GoatKit plugins, and operate the host that runs them.
#[derive(Debug, Parser)]
#[command(name = "gk", version, propagate_version = true, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a plugin.
    Init(author::init::InitArgs),
    /// Build a plugin's program.
    Build(author::build::BuildArgs),
    Dev(dev::DevArgs),
    Debug(debug::DebugArgs),
    /// Say what is wrong with a plugin, and where.
    Validate(author::validate::ValidateArgs),
    /// Make keys to sign with, and look at them.
    #[command(subcommand)]
    Keys(trust::keys::KeysCommand),
    /// Sign a plugin, or a file.
    Sign(trust::sign::SignArgs),
    /// Say what a plugin's signature is worth.
    Verify(trust::verify::VerifyArgs),
    /// Pack a plugin into a ZIP file.
    Package(trust::package::PackageArgs),
    /// Commands under the names of GoatFlow's tool.
    #[command(subcommand)]
    Plugin(author::init::PluginCommand),
    /// Check whether a plugin keeps to the contract.
    Test(conformance::TestArgs),
    /// Start a binary in a sandbox, and show its handshake, what it registers and what it asks for.
    Inspect(inspect::InspectArgs),
    /// Install a plugin, or replace what is installed.
    Install(install::InstallArgs),
    /// Stop plugins and remove their packages.
    Uninstall(uninstall::UninstallArgs),
    /// Search an index for plugins.
    Search(search::SearchArgs),
    /// Update plugins to the newest version that an index offers.
    Update(search::UpdateArgs),
    /// List the plugins of the host.
    #[command(visible_alias = "list", alias = "ls")]
    Ps(ps::PsArgs),
    /// Show a plugin: what it is, how it is, what it offers.
    Info(info::InfoArgs),
    /// Let plugins run, also after the next start of the host.
    Enable(orders::OrderArgs),
    /// End plugins, and keep them from starting.
    Disable(orders::OrderArgs),
    /// Start what is there of plugins beside what runs.
    Reload(orders::ReloadArgs),
    /// Start plugins anew.
    Restart(orders::OrderArgs),
    /// Forget the crashes of plugins, and start those that wait.
    Reset(orders::OrderArgs),
    /// Bring back the version that served before.
    Rollback(orders::OrderArgs),
    /// Show what a plugin logged and printed.
    Logs(logs::LogsArgs),
    /// Follow the events that a plugin publishes.
    Events(logs::EventsArgs),
    /// Call a function of a plugin, and print what it answers.
    Call(call::CallArgs),
    /// Look at policies, and set them.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// List, make and delete tokens.
    #[command(subcommand, alias = "token")]
    Tokens(tokens::TokensCommand),
    /// List, run, suspend and change the jobs of plugins.
    #[command(subcommand, alias = "job")]
    Jobs(jobs::JobsCommand),
    /// Show what plugins have used, and how their calls went.
    Stats(stats::StatsArgs),
    /// Watch what plugins use and how many calls they take.
    Top(top::TopArgs),
    /// Check the host: plugins, sandbox, databases, cache, mail, keys.
    Doctor(doctor::DoctorArgs),
    /// List the hosts that share their state.
    Hosts(hosts::HostsArgs),
    /// Show who changed what, newest first.
    Audit(audit::AuditArgs),
    /// Name hosts, and choose among them.
    #[command(subcommand, alias = "contexts")]
    Context(contexts::ContextCommand),
    Completion(CompletionArgs),
    #[command(hide = true)]
    Generate(GenerateArgs),
    /// Print the version.
    Version,
}

impl Command {
    pub(crate) fn run(self, connect: &ConnectArgs, terminal: &Terminal) -> Result<(), Failure> {
        let order =
            |operation, args: &orders::OrderArgs| orders::run(operation, args, connect, terminal);
        match self {
            Command::Init(args) => args.run(terminal),
            Command::Build(args) => args.run(terminal),
            Command::Dev(args) => dev::run(args, terminal),
            Command::Debug(args) => debug::run(args, terminal),
            Command::Validate(args) => args.run(terminal),
            Command::Keys(command) => command.run(terminal),
            Command::Sign(args) => args.run(terminal),
            Command::Verify(args) => args.run(terminal),
            Command::Package(args) => args.run(terminal),
            Command::Plugin(command) => command.run(terminal),
            Command::Test(args) => conformance::run(&args, terminal),
            Command::Inspect(args) => inspect::run(&args, terminal),
            Command::Install(args) => install::run(&args, connect, terminal),
            Command::Uninstall(args) => uninstall::run(&args, connect, terminal),
            Command::Search(args) => search::search(&args, terminal),
            Command::Update(args) => search::update(&args, connect, terminal),
            Command::Ps(args) => ps::run(&args, connect, terminal),
            Command::Info(args) => info::run(&args, connect, terminal),
            Command::Enable(args) => order(Operation::EnablePlugin, &args),
            Command::Disable(args) => order(Operation::DisablePlugin, &args),
            Command::Reload(args) => orders::reload(&args, connect, terminal),
            Command::Restart(args) => order(Operation::RestartPlugin, &args),
            Command::Reset(args) => order(Operation::ResetPlugin, &args),
            Command::Rollback(args) => order(Operation::RollBackPlugin, &args),
            Command::Logs(args) => logs::run(&args, connect, terminal),
            Command::Events(args) => logs::events(&args, connect, terminal),
            Command::Call(args) => call::run(&args, connect, terminal),
            Command::Policy(command) => policy::run(&command, connect, terminal),
            Command::Tokens(command) => tokens::run(&command, connect, terminal),
            Command::Jobs(command) => jobs::run(&command, connect, terminal),
            Command::Stats(args) => stats::run(&args, connect, terminal),
            Command::Top(args) => top::run(&args, connect, terminal),
            Command::Doctor(args) => doctor::run(&args, connect, terminal),
            Command::Hosts(args) => hosts::run(&args, connect, terminal),
            Command::Audit(args) => audit::run(&args, connect, terminal),
            Command::Context(command) => contexts::run(&command, terminal),
            Command::Completion(args) => args.run(terminal),
            Command::Generate(args) => args.run(Cli::command()),
            Command::Version => {
                terminal.line(format_args!("gk version {}", env!("CARGO_PKG_VERSION")))
            }
        }
    }
}
