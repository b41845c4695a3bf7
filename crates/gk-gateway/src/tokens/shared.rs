//! Tokens in the database that several hosts share.

use async_trait::async_trait;
use gk_cluster::database::{Failure, lock_changes, note};
use gk_cluster::{Database, Topic};

use super::{StoredToken, TOKENS_MAX, TokenError, TokenStore};

#[async_trait]
impl TokenStore for Database {
    async fn all(&self) -> Result<Vec<StoredToken>, TokenError> {
        let select =
            "SELECT id, hash, login, role, created_at, expires_at, last_used_at FROM token";
        let rows = self.query(select, &[]).await?;
        let tokens = rows.iter().filter_map(|row| {
            let (hash, role): (Vec<u8>, String) = (row.get(1), row.get(3));
            let (Ok(hash), Ok(role)) = (hash.try_into(), role.parse()) else {
                // Of a newer host, which may have more roles: nobody's here.
                tracing::warn!(
                    id = row.get::<_, i64>(0),
                    "a token of an unknown kind is not taken"
                );
                return None;
            };
            Some(StoredToken {
                id: row.get(0),
                hash,
                login: row.get(2),
                role,
                created_at: Some(row.get(4)),
                expires_at: row.get(5),
                last_used_at: row.get(6),
            })
        });
        Ok(tokens.collect())
    }

    async fn insert(&self, token: &StoredToken) -> Result<i64, TokenError> {
        let token = token.clone();
        let inserted = self.write(move |transaction| {
            Box::pin(async move {
                lock_changes(transaction).await?;
                let count = "SELECT count(*) FROM token";
                let count: i64 = transaction.query_one(count, &[]).await?.get(0);
                if usize::try_from(count).is_ok_and(|count| count >= TOKENS_MAX) {
                    return Ok(None);
                }
                let insert = "INSERT INTO token (hash, login, role, created_at, expires_at)
                    VALUES ($1, $2, $3, $4, $5) RETURNING id";
                let created_at = token.created_at.unwrap_or_default();
                let (hash, role) = (&token.hash[..], token.role.as_str());
                let row = transaction
                    .query_one(
                        insert,
                        &[&hash, &token.login, &role, &created_at, &token.expires_at],
                    )
                    .await?;
                let id: i64 = row.get(0);
                note(transaction, Topic::Tokens, &id.to_string()).await?;
                Ok(Some(id))
            })
        });
        inserted.await?.ok_or(TokenError::Full)
    }

    async fn delete(&self, id: i64) -> Result<bool, TokenError> {
        let deleted = self.write(move |transaction| {
            Box::pin(async move {
                lock_changes(transaction).await?;
                let delete = "DELETE FROM token WHERE id = $1";
                let deleted = transaction.execute(delete, &[&id]).await? > 0;
                note(transaction, Topic::Tokens, &id.to_string()).await?;
                Ok::<_, Failure>(deleted)
            })
        });
        Ok(deleted.await?)
    }

    async fn store_uses(&self, uses: Vec<(i64, i64)>) -> Result<(), TokenError> {
        let mut uses = uses;
        // In one order on all hosts, so that none waits for another in a circle.
        uses.sort_unstable();
        let (ids, moments): (Vec<i64>, Vec<i64>) = uses.into_iter().unzip();
        let update = "UPDATE token SET last_used_at = greatest(last_used_at, used)
            FROM unnest($1::bigint[], $2::bigint[]) AS of (used_id, used) WHERE id = used_id";
        self.query(update, &[&ids, &moments]).await?;
        Ok(())
    }
}
