//! What the host tells the service manager, in systemd's protocol.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::DEADLINE;
use crate::host::Setup;

/// The service manager's socket, and the messages that no test has waited for yet.
struct Manager {
    socket: UnixDatagram,
    seen: Vec<String>,
}

impl Manager {
    /// Waits for a message with this line, which may have come before; returns all of it.
    fn wait_for(&mut self, line: &str) -> String {
        let started = Instant::now();
        let has_line = |text: &String| text.lines().any(|found| found == line);
        if let Some(at) = self.seen.iter().position(has_line) {
            return self.seen.remove(at);
        }
        let mut bytes = [0; 4096];
        loop {
            let length = self.socket.recv(&mut bytes).unwrap();
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if has_line(&text) {
                return text;
            }
            self.seen.push(text);
            assert!(started.elapsed() < DEADLINE, "{line} does not come");
        }
    }
}

#[test]
fn the_service_manager_is_told() {
    let setup = Setup::new()
        .plugin("hello-rust", "hello-rust")
        .heeding_hup();
    let place = setup.path("notify.sock");
    let socket = UnixDatagram::bind(&place).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut manager = Manager {
        socket,
        seen: Vec::new(),
    };
    let mut host = setup
        .variable("NOTIFY_SOCKET", &place)
        .variable("WATCHDOG_USEC", "200000")
        .start();
    manager.wait_for("READY=1");
    host.get("/readyz").expect(200);
    manager.wait_for("STATUS=1 plugins running, 0 failed");
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    host.signal(Signal::HUP);
    let reloading = manager.wait_for("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.wait_for("READY=1");
    // A host that does not run gives no sign of life.
    host.signal(Signal::STOP);
    manager
        .socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut bytes = [0; 4096];
    let mut left = 0;
    while manager.socket.recv(&mut bytes).is_ok() {
        left += 1;
        assert!(left < 100, "a host that is stopped gives signs of life");
    }
    manager.socket.set_read_timeout(Some(DEADLINE)).unwrap();
    manager.seen.clear();
    host.signal(Signal::CONT);
    manager.wait_for("WATCHDOG=1");
    host.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
    assert_eq!(host.wait().code(), Some(0));
}
