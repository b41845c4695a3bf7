//! The administrator's token, and the log of what administrators change.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use gk_cluster::{Database, Member};
use gk_gateway::audit::Audit;
use gk_gateway::tokens::{Role, Tokens};

use crate::serve::print_line;
use crate::sources::process_variable;

/// File with the administrator's token of the first start, in the data directory.
const TOKEN_FILE: &str = "admin.token";

/// The host's database, in the data directory.
const DATABASE_FILE: &str = "host.db";

/// Opens the host's tokens and its audit log, or those of hosts that share them.
pub(crate) async fn open(
    data_dir: &Path,
    member: Option<&Arc<Member>>,
) -> Result<(Arc<Tokens>, Audit)> {
    let tokens = open_tokens(data_dir, member.map(|member| member.database())).await?;
    Ok((Arc::new(tokens), open_audit(data_dir, member)?))
}

/// Opens the audit log: the host's own, or that of hosts that share one.
fn open_audit(data_dir: &Path, member: Option<&Arc<Member>>) -> Result<Audit> {
    match member {
        Some(member) => Ok(Audit::shared(Arc::clone(member))),
        None => Audit::open(&data_dir.join(DATABASE_FILE))
            .context("the audit log in the host's database cannot be used"),
    }
}

/// Opens the host's tokens; the first start creates one for the administrator.
async fn open_tokens(data_dir: &Path, shared: Option<&Database>) -> Result<Tokens> {
    let tokens = match shared {
        Some(shared) => {
            let tokens = Tokens::shared(shared.clone()).await;
            tokens.context("the tokens in the shared database cannot be used")?
        }
        None => {
            let database = data_dir.join(DATABASE_FILE);
            let tokens = Tokens::open(&database).await;
            tokens.with_context(|| format!("{} cannot be used", database.display()))?
        }
    };
    if let Some(token) = process_variable("GK_ADMIN_TOKEN") {
        let token = token
            .into_string()
            .ok()
            .context("GK_ADMIN_TOKEN is not text")?;
        tokens
            .accept_admin(&token)
            .context("GK_ADMIN_TOKEN cannot be used")?;
        print_line("admin token: the one in GK_ADMIN_TOKEN");
        return Ok(tokens);
    }
    let path = data_dir.join(TOKEN_FILE);
    if tokens.has_role(Role::Admin) {
        if path.exists() {
            print_line(&format!("admin token: in {}", path.display()));
        } else if shared.is_some() {
            print_line("admin token: one that another host has made");
        } else {
            tracing::warn!(
                "{} is gone; whoever lost the token can make a new one over the local socket: gk tokens create",
                path.display()
            );
        }
        return Ok(tokens);
    }
    let (token, identity) = tokens.create("admin", Role::Admin, None).await?;
    if let Err(error) = write_token(&path, &token) {
        // The token is lost if it cannot be written, so it is deleted; the next start tries again.
        tokens.delete(identity.id).await?;
        return Err(error)
            .with_context(|| format!("the admin token cannot be written to {}", path.display()));
    }
    print_line(&format!("admin token: written to {}", path.display()));
    Ok(tokens)
}

fn write_token(path: &Path, token: &str) -> io::Result<()> {
    // The old file is removed, so that no link is followed and no open copy of it sees the token.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(token.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}
