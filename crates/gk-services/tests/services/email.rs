//! Mail to a real SMTP server.

use std::time::Duration;

use gk_hostapi::ErrorKind;
use gk_hostapi::scope::Scope;
use gk_servers::Smtp;
use gk_services::email::{
    BODY_BYTES_MAX, Mail, MailConfig, MailCredentials, MailScope, MailTls, Mailer,
    SUBJECT_BYTES_MAX,
};
use tokio::time::Instant;

use super::smtp_tls::SmtpTls;
use super::{far, soon};

fn config(server: &Smtp) -> MailConfig {
    MailConfig {
        host: "127.0.0.1".to_owned(),
        port: server.port(),
        tls: MailTls::Off,
        credentials: None,
        from: "GoatKit <host@goatkit.example>".to_owned(),
        timeout: Duration::from_secs(60),
        extra_roots_pem: Vec::new(),
    }
}

fn anybody() -> MailScope {
    MailScope::parse(Scope::Any).unwrap()
}

fn mail<'a>(to: &'a str, subject: &'a str, body: &'a str) -> Mail<'a> {
    Mail {
        to,
        subject,
        body,
        html: false,
    }
}

#[tokio::test]
async fn mail_arrives_as_it_was_meant() {
    let server = Smtp::start().unwrap();
    let mailer = Mailer::new(&config(&server)).unwrap();
    let any = anybody();
    let html = Mail {
        html: true,
        ..mail("Ü <x@example.com>", "Grüße", "<p>Hällo</p>")
    };
    mailer.send(html, &any, far()).await.unwrap();
    let delivered = server.delivered().unwrap();
    let [mail] = &delivered[..] else {
        panic!("{delivered:?}");
    };
    assert_eq!(
        (mail.from.as_str(), &mail.to[..]),
        ("host@goatkit.example", &["x@example.com".to_owned()][..])
    );
    assert!(
        mail.content
            .contains("Content-Type: text/html; charset=utf-8"),
        "{}",
        mail.content
    );
    assert!(
        mail.content.contains("Subject: =?utf-8?b?R3LDvMOfZQ==?="),
        "{}",
        mail.content
    );
    assert!(
        mail.content.contains("@goatkit.example>"),
        "{}",
        mail.content
    );
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let header = mail
        .content
        .lines()
        .find(|line| line.starts_with("Message-ID:"))
        .unwrap();
    assert!(!header.contains(machine.trim()), "{header}");
}

/// Whatever a mail holds, its headers say how to read it.
#[tokio::test]
async fn every_mail_is_mime() {
    let server = Smtp::start().unwrap();
    let mailer = Mailer::new(&config(&server)).unwrap();
    let any = anybody();
    let to = "x@example.com";
    let long = "x".repeat(2000);
    let mails = [
        mail(to, "Hello", "plain"),
        mail(to, "Hello", "\u{fc}"),
        mail(to, "Gr\u{fc}\u{df}e", "plain"),
        mail("\u{dc} <x@example.com>", "Hello", "plain"),
        mail(to, "", ""),
        mail(to, "long", &long),
        Mail {
            html: true,
            ..mail(to, "Hello", "<p>plain</p>")
        },
        Mail {
            html: true,
            ..mail(to, "Hello", "<p>\u{1f600}</p>")
        },
    ];
    for sent in mails {
        mailer.send(sent, &any, far()).await.unwrap();
        let delivered = server.delivered().unwrap().pop().unwrap().content;
        let head = delivered.split("\n\n").next().unwrap().replace('\r', "");
        let head = head.split("\n\n").next().unwrap();
        for header in [
            "MIME-Version: 1.0",
            "Content-Type: text/",
            "Content-Transfer-Encoding: ",
        ] {
            let count = head.lines().filter(|line| line.starts_with(header)).count();
            assert_eq!(count, 1, "{header}{head}");
        }
        assert!(head.is_ascii(), "{head}");
    }
}

#[tokio::test]
async fn nothing_in_a_mail_adds_to_its_envelope_or_headers() {
    let server = Smtp::start().unwrap();
    let mailer = Mailer::new(&config(&server)).unwrap();
    let scope = MailScope::parse(Scope::Only(&["@example.com".to_owned()])).unwrap();
    for (to, subject, body) in [
        ("x@example.com\r\nBcc: victim@evil.example", "s", "b"),
        ("victim@evil.example, x@example.com", "s", "b"),
        ("x@example.com>\r\nRCPT TO:<victim@evil.example", "s", "b"),
        ("x@example.com", "s\r\nBcc: victim@evil.example", "b"),
        ("x@example.com", "s\nX: y", "b"),
        ("x@example.com", "s\rX: y", "b"),
        ("x@example.com", "s\0", "b"),
        ("x@example.com", "s", "b\0"),
        ("Name\r\nX: y <x@example.com>", "s", "b"),
    ] {
        let error = mailer
            .send(mail(to, subject, body), &scope, far())
            .await
            .unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::Invalid,
            "{to:?} {subject:?}: {error}"
        );
    }
    let error = mailer
        .send(mail("victim@evil.example", "s", "b"), &scope, far())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(server.delivered().unwrap().is_empty());

    // The end of a mail in every spelling, and a second mail behind it: it all is text.
    for end in [
        "\r\n.\r\n",
        "\n.\n",
        "\n.\r\n",
        "\r.\r",
        "\r\n.\n",
        "\r\n.\r",
    ] {
        let body = format!(
            "before{end}MAIL FROM:<forged@evil.example>\r\nRCPT TO:<victim@evil.example>\r\nDATA\r\nafter"
        );
        mailer
            .send(mail("x@example.com", "s", &body), &scope, far())
            .await
            .unwrap();
    }
    let delivered = server.delivered().unwrap();
    assert_eq!(delivered.len(), 6);
    for mail in delivered {
        assert_eq!(
            (mail.from.as_str(), &mail.to[..]),
            ("host@goatkit.example", &["x@example.com".to_owned()][..])
        );
        assert!(
            mail.content.contains("before") && mail.content.contains("after"),
            "{}",
            mail.content
        );
    }
}

#[tokio::test]
async fn a_server_that_is_down_or_hangs_is_an_error_and_comes_back() {
    let mut server = Smtp::start().unwrap();
    let mailer = Mailer::new(&config(&server)).unwrap();
    let any = anybody();
    let mail = mail("x@example.com", "s", "b");
    mailer.send(mail, &any, far()).await.unwrap();
    server.stop().unwrap();
    let error = mailer.send(mail, &any, far()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.to_string().contains("127.0.0.1"), "{error}");
    server.restart().unwrap();
    mailer.send(mail, &any, far()).await.unwrap();
    server.pause().unwrap();
    let deadline = soon();
    let error = mailer.send(mail, &any, deadline).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    // Its own time, which is the other end there is, is a minute.
    assert!(Instant::now() < deadline + Duration::from_secs(50));
    server.resume().unwrap();
    mailer.send(mail, &any, far()).await.unwrap();
}

#[tokio::test]
async fn a_server_without_tls_gets_neither_mail_nor_password() {
    let server = Smtp::start().unwrap();
    let credentials = Some(MailCredentials {
        user: "host".to_owned(),
        password: "hunter2".to_owned().into(),
    });
    let open = MailConfig {
        host: "mail.example.com".to_owned(),
        credentials: credentials.clone(),
        ..config(&server)
    };
    let error = Mailer::new(&open).unwrap_err();
    assert!(error.to_string().contains("TLS"), "{error}");
    assert!(!format!("{open:?}").contains("hunter2"));
    for tls in [MailTls::StartTls, MailTls::Implicit] {
        let config = MailConfig {
            tls,
            credentials: credentials.clone(),
            timeout: Duration::from_secs(2),
            ..config(&server)
        };
        let mailer = Mailer::new(&config).unwrap();
        assert!(!format!("{mailer:?}").contains("hunter2"));
        let mail = mail("x@example.com", "s", "b");
        let error = mailer.send(mail, &anybody(), far()).await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
            "{error}"
        );
    }
    assert!(server.delivered().unwrap().is_empty());
}

#[tokio::test]
async fn the_limits_hold_at_the_limit() {
    let server = Smtp::start().unwrap();
    let mailer = Mailer::new(&config(&server)).unwrap();
    let any = anybody();
    let (subject, body) = ("s".repeat(SUBJECT_BYTES_MAX), "b".repeat(BODY_BYTES_MAX));
    mailer
        .send(mail("x@example.com", &subject, &body), &any, far())
        .await
        .unwrap();
    for (subject, body) in [
        (subject.clone() + "s", "b".to_owned()),
        (subject, body + "b"),
    ] {
        let error = mailer
            .send(mail("x@example.com", &subject, &body), &any, far())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
    }
}

#[tokio::test]
async fn a_password_goes_to_a_server_whose_certificate_is_trusted() {
    for (tls, implicit) in [(MailTls::StartTls, false), (MailTls::Implicit, true)] {
        let server = SmtpTls::start(implicit).await;
        let config = |roots: Vec<Vec<u8>>| MailConfig {
            host: "localhost".to_owned(),
            port: server.port,
            tls,
            credentials: Some(MailCredentials {
                user: "host".to_owned(),
                password: "hunter2".to_owned().into(),
            }),
            from: "host@goatkit.example".to_owned(),
            timeout: Duration::from_secs(60),
            extra_roots_pem: roots,
        };
        let any = anybody();
        let mail = mail("x@example.com", "s", "the text");
        let login =
            |lines: &[(bool, String)]| lines.iter().any(|(_, line)| line.starts_with("AUTH"));

        let distrusting = Mailer::new(&config(Vec::new())).unwrap();
        let error = distrusting.send(mail, &any, far()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(!login(&server.lines()), "{:?}", server.lines());

        let trusting = Mailer::new(&config(vec![server.root.clone()])).unwrap();
        trusting.send(mail, &any, far()).await.unwrap();
        let lines = server.lines();
        assert!(login(&lines), "{lines:?}");
        let open = |line: &str| line.starts_with("EHLO") || line == "STARTTLS";
        assert!(
            lines.iter().all(|(tls, line)| *tls || open(line)),
            "{lines:?}"
        );
        assert!(
            lines.iter().any(|(_, line)| line == "the text"),
            "{lines:?}"
        );
    }
}
