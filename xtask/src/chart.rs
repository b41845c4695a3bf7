//! The bench's chart: calls per second relative to the Go host, as SVG.

use std::fmt::Write;

use crate::bench::{CALLERS, Calls, PAYLOADS};

const ROW_HEIGHT: f64 = 16.0;
const GROUP_GAP: f64 = 14.0;
const WIDTH: f64 = 820.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 70.0;

/// The systems that are drawn, and their colours, readable on light and dark ground.
const DRAWN: [(&str, &str, &str); 3] = [
    ("gk-rust", "our host, Rust plugin", "#d97706"),
    ("gk-go", "our host, Go plugin", "#2563eb"),
    ("goplugin", "crate goplugin, Go plugin", "#9ca3af"),
];

/// Draws one bar per system, payload and number of callers.
pub(crate) fn draw(calls: &Calls) -> String {
    let groups: Vec<_> = PAYLOADS
        .into_iter()
        .flat_map(|payload| CALLERS.map(|callers| (payload, callers)))
        .collect();
    let all = groups.iter().flat_map(|(payload, callers)| {
        DRAWN
            .iter()
            .map(|(system, ..)| calls.rate_to_go(system, *payload, *callers))
    });
    let largest = all.fold(1.0_f64, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / largest;
    #[expect(clippy::cast_precision_loss, reason = "a handful of groups")]
    let height = 70.0 + groups.len() as f64 * (ROW_HEIGHT * 3.0 + GROUP_GAP);
    let mut svg = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#6b7280\">\n\
         <title>Calls per second, relative to HashiCorp's Go host with the Go plugin</title>"
    );
    for (place, (_, label, colour)) in DRAWN.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "three systems")]
        let x = LEFT + place as f64 * 200.0;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"10\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{}\" y=\"20\">{label}</text>",
            x + 17.0
        );
    }
    let mut y = 48.0;
    for (payload, callers) in &groups {
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}, {callers} callers</text>",
            LEFT - 10.0,
            y + 28.0,
            bytes(*payload)
        );
        for (system, _, colour) in DRAWN {
            let ratio = calls.rate_to_go(system, *payload, *callers);
            let width = ratio * scale;
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{}\">{ratio:.1}</text>",
                ROW_HEIGHT - 3.0,
                LEFT + width + 5.0,
                y + 11.0
            );
            y += ROW_HEIGHT;
        }
        y += GROUP_GAP;
    }
    let one = LEFT + scale;
    let _ = writeln!(
        svg,
        "<line x1=\"{one:.1}\" y1=\"34\" x2=\"{one:.1}\" y2=\"{:.1}\" stroke=\"#6b7280\" stroke-dasharray=\"3 3\"/><text x=\"{one:.1}\" y=\"{:.1}\" text-anchor=\"middle\">Go host = 1</text>\n</svg>",
        y,
        y + 12.0
    );
    svg
}

fn bytes(count: usize) -> String {
    match count {
        1_048_576.. => format!("{} MiB", count >> 20),
        1024.. => format!("{} KiB", count >> 10),
        _ => format!("{count} B"),
    }
}
