//! `gk tokens`: who may come in.

use clap::{Args, Subcommand, ValueEnum};
use gk_api::{NewToken, NewTokenAnswer, Operation, Token};

use super::{for_each, local};
use crate::client::{Body, ConnectArgs, Host, json};
use crate::failure::{Exit, Failure};
use crate::terminal::{Rows, Terminal};

/// List, make and delete tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokensCommand {
    /// List all tokens, without their text.
    #[command(alias = "ls")]
    List,
    /// Make a token, and print its text: it is shown this once.
    Create(Create),
    /// Delete tokens; they are refused from then on.
    #[command(alias = "rm")]
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The user's name.
    #[arg(value_name = "LOGIN")]
    login: String,
    /// What they may do.
    #[arg(long, value_enum, default_value_t = Role::Agent)]
    role: Role,
    /// For how long it is valid, such as 720h; without it, until it is deleted.
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<gk_manifest::GoDuration>,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The tokens' numbers.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

/// Roles, as the host has them.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    /// Everything.
    Admin,
    /// The plugin API's reading part, and routes for agents.
    Agent,
    /// Routes for customers.
    Customer,
}

impl Rows for Vec<Token> {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["ID", "LOGIN", "ROLE", "CREATED", "EXPIRES", "LAST USED"]
    }

    fn rows(&self, _: bool) -> Vec<(String, Vec<String>)> {
        let rows = self.iter().map(|token| {
            let expires = match (token.expired, token.expires_at.as_deref()) {
                (true, _) => "expired".to_owned(),
                (false, None) => "never".to_owned(),
                (false, time) => local(time),
            };
            let cells = vec![
                token.id.to_string(),
                token.login.clone(),
                token.role.to_string(),
                local(token.created_at.as_deref()),
                expires,
                local(token.last_used_at.as_deref()),
            ];
            (token.id.to_string(), cells)
        });
        rows.collect()
    }
}

pub(crate) fn run(
    command: &TokensCommand,
    connect: &ConnectArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let host = Host::new(connect)?;
    match command {
        TokensCommand::List => {
            let tokens: Vec<Token> = host.get(Operation::ListTokens, &[], &[])?;
            terminal.data(&tokens)
        }
        TokensCommand::Create(args) => {
            let role = match args.role {
                Role::Admin => gk_api::Role::Admin,
                Role::Agent => gk_api::Role::Agent,
                Role::Customer => gk_api::Role::Customer,
            };
            let wanted = NewToken {
                login: args.login.clone(),
                role: role.to_string(),
                expires_in: args.expires_in,
            };
            let made: NewTokenAnswer =
                host.send(Operation::CreateToken, &[], &[], json(&wanted))?;
            terminal.say(format_args!(
                "Token {} of {}. Its text is shown this once:",
                made.id, made.login
            ));
            terminal.document(&made, &made.id.to_string(), || format!("{}\n", made.token))
        }
        TokensCommand::Delete(args) => for_each(terminal, &args.ids, |id| {
            if id.parse::<i64>().is_err() {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("{id:?} is no number of a token"),
                    "`gk tokens list` shows the numbers",
                ));
            }
            host.raw(Operation::DeleteToken, &[id], &[], Body::Nothing)?;
            terminal.line(format_args!("token {id} is deleted"))
        }),
    }
}
