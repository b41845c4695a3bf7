//! An S3 server, in this process: Debian has none.

use std::net::TcpListener;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::sync::oneshot;

use crate::process::{free_port, random_word};

/// The one bucket.
const BUCKET: &str = "goatkit";

/// An S3 server with one bucket, whose objects are files in a temporary directory.
pub struct S3 {
    root: tempfile::TempDir,
    port: u16,
    secret: String,
    running: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3").field("port", &self.port).finish()
    }
}

impl S3 {
    /// Starts a server.
    ///
    /// # Errors
    ///
    /// There is no port, or no thread.
    pub fn start() -> Result<Self> {
        let root = tempfile::tempdir()?;
        std::fs::create_dir(root.path().join(BUCKET))?;
        let mut s3 = Self {
            root,
            port: free_port()?,
            secret: random_word()?,
            running: None,
        };
        s3.restart()?;
        Ok(s3)
    }

    /// `s3://goatkit`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("s3://{BUCKET}")
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The variables by which clients of AWS find it.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            (
                "AWS_ENDPOINT_URL",
                format!("http://127.0.0.1:{}", self.port),
            ),
            ("AWS_ACCESS_KEY_ID", "gk".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", self.secret.clone()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    /// Ends the server and all of its connections; its objects stay.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = running.stop.send(());
            let _ = running.thread.join();
        }
    }

    /// Starts it on its port, with its objects.
    ///
    /// # Errors
    ///
    /// The port is taken.
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        let listener = TcpListener::bind(("127.0.0.1", self.port)).context("S3")?;
        listener.set_nonblocking(true)?;
        let files = FileSystem::new(self.root.path());
        let files = files.map_err(|error| anyhow::anyhow!("S3: {error:?}"))?;
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single("gk", self.secret.as_str()));
        let service = service.build();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, service) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        self.running = Some(Running { stop, thread });
        Ok(())
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn serve(listener: TcpListener, service: S3Service) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    while let Ok((stream, _)) = listener.accept().await {
        let service = service.clone();
        tokio::spawn(async move {
            let builder = Builder::new(TokioExecutor::new());
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            // A client that goes away in the middle is no error of the server's.
            let _ = connection.await;
        });
    }
}
