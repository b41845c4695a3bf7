//! Every limit of this crate, in one place.

use std::time::Duration;

/// Maximum time from the start of a plugin's process to its handshake line.
pub const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum time for the connection to a plugin's socket to be established.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of one call, unless the plugin asks for another.
pub const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// The longest `call_timeout` a plugin can ask for.
pub const CALL_TIMEOUT_MAX: Duration = Duration::from_secs(10 * 60);
/// The longest run of a job.
pub const JOB_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Time limit of GKRegister and of Init (each), unless the plugin asks for another.
pub const INIT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The longest `init_timeout` a plugin can ask for.
pub const INIT_TIMEOUT_MAX: Duration = Duration::from_secs(5 * 60);
/// Time limit of Shutdown, unless the plugin asks for another.
pub const SHUTDOWN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// The longest `shutdown_timeout` a plugin can ask for.
pub const SHUTDOWN_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// The shortest timeout of any kind: less would fail by scheduling alone.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(10);
/// Memory limit of a plugin, in bytes, unless its policy or its plugin.yaml has another.
pub const MEMORY_DEFAULT: u64 = 512 * 1024 * 1024;
/// Maximum memory limit of a plugin, in bytes, from any source.
pub const MEMORY_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// The least memory a plugin has, in bytes: in less, many a runtime does not even start.
pub const MEMORY_MIN: u64 = 32 * 1024 * 1024;
/// Maximum time for the start of a plugin's process, its sandbox included. Longer than gk-sandbox
/// itself waits, which can name the slow step.
pub const LAUNCH_TIMEOUT: Duration = Duration::from_secs(45);
/// Maximum time for the check of a plugin's signature. A package may have 512 MiB.
pub const VERIFY_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum number of plugin versions that are remembered as already warned of for a missing
/// signature.
pub const WARNED_VERSIONS_MAX: usize = 4096;
/// Maximum time that running calls may go on after a stop was requested.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time that running calls may go on in a generation that another one has replaced.
pub const REPLACED_DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum time for the answer to Ping and to Quit.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(2);
/// Time that a plugin has to exit by itself after Quit before it is killed.
pub const EXIT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time that a plugin has to exit by itself after its connection broke, so that its own exit code
/// and not our SIGKILL is reported. Its calls have failed before. On a busy machine a process that
/// was killed for its memory, or whose sandbox has to be told of its end, takes a while to exit.
pub const CRASH_EXIT_GRACE: Duration = Duration::from_secs(2);
/// Maximum wait for the last output of an ended plugin.
pub const LAST_OUTPUT_GRACE: Duration = Duration::from_millis(30);
/// Maximum wait for the last output of a plugin that never ran. Longer than [`LAST_OUTPUT_GRACE`]:
/// no call waits for the report, and the output is all there is to tell what was wrong.
pub const FIRST_OUTPUT_GRACE: Duration = Duration::from_secs(1);
/// Maximum wait of a failed call for the report on the crash that failed it.
pub const CRASH_REPORT_WAIT: Duration = Duration::from_millis(90);

/// Maximum number of processes and threads of a plugin, unless the configuration has another.
pub const PROCESSES_MAX: u32 = 512;
/// Maximum number of open descriptors of each of a plugin's processes, unless the configuration has
/// another.
pub const OPEN_FILES_MAX: u64 = 4096;
/// Maximum size of a plugin's temporary directory in bytes, unless the configuration has another.
pub const TEMP_BYTES_MAX: u64 = 64 << 20;
/// Maximum size in bytes of a file that a plugin writes, unless the configuration has another.
pub const FILE_BYTES_MAX: u64 = 1 << 30;

/// Maximum number of plugins that start at the same time.
pub const PARALLEL_STARTS: usize = 8;
/// Time after which a start no longer counts among [`PARALLEL_STARTS`], so that a plugin that hangs
/// delays the others by no more.
pub const SLOW_START: Duration = Duration::from_secs(2);

/// Maximum number of directories in a plugins directory.
pub const PLUGIN_DIRS_MAX: usize = 1024;
/// The longest handshake line.
pub const HANDSHAKE_BYTES_MAX: usize = gk_wire::handshake::MAX_LINE_BYTES;
/// Maximum amount of a plugin's output in an error, in bytes.
pub const SHOWN_OUTPUT_BYTES_MAX: usize = 1024;
/// Maximum number of lines of a plugin's stderr in an error.
pub const SHOWN_STDERR_LINES: usize = 8;

/// The longest function name of a call.
pub const FUNCTION_BYTES_MAX: usize = 256;
/// The largest arguments of a call: a request's body of 64 MiB, as base64.
pub const ARGS_BYTES_MAX: usize = 96 * 1024 * 1024;
/// The largest result of a call.
pub const RESULT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The largest error text a plugin may answer with; longer ones are cut.
pub const ERROR_TEXT_BYTES_MAX: usize = 16 * 1024;
/// Maximum number of calls in flight in one plugin, including calls made during other calls, which
/// do not wait. A call that timed out, or whose caller went away, is in flight until the plugin
/// answers it.
pub const CALLS_IN_FLIGHT_MAX: usize = 1024;
/// Maximum number of calls that run in one plugin at once, unless its policy has another; further
/// ones wait.
pub const CALLS_IN_FLIGHT_DEFAULT: usize = 64;
/// Maximum number of calls that wait for one plugin, unless its policy has another; further ones
/// are refused.
pub const CALLS_WAITING_DEFAULT: usize = 256;
/// Maximum wait of a call until it may run, within the call's own time limit.
pub const CALL_WAIT_MAX: Duration = Duration::from_secs(1);
/// Time without an empty queue after which the newest waiting call is let in first. The oldest ones
/// have used up most of their time by then, and would time out before they are answered.
pub const NEWEST_FIRST_AFTER: Duration = Duration::from_millis(100);

/// The longest log line; a longer one becomes several entries.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;
/// The longest line that is read as one, in bytes; go-plugin's own limit. In a structured record
/// that is longer than [`LOG_LINE_BYTES_MAX`] the message is cut; text becomes several entries.
pub const LOG_RECORD_BYTES_MAX: usize = 64 * 1024;
/// Interval of the notices that a plugin's lines are kept out of the host's log.
pub const LOG_SUPPRESSED_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of log entries that are kept per plugin.
pub const LOG_RING_ENTRIES: usize = 1000;
/// Maximum size of the log entries that are kept per plugin, in bytes.
pub const LOG_RING_BYTES: usize = 512 * 1024;
/// Maximum number of fields that are kept of one log record.
pub const LOG_FIELDS_MAX: usize = 32;
/// The longest name of a log record's field; longer ones are dropped.
pub const LOG_FIELD_NAME_BYTES_MAX: usize = 64;
/// The longest value of a log record's field; longer ones are cut.
pub const LOG_FIELD_VALUE_BYTES_MAX: usize = 1024;
/// Maximum number of log lines of one plugin that reach the host's own log within [`LOG_WINDOW`].
pub const LOG_LINES_MAX: u32 = 1000;
/// The sliding window in which [`LOG_LINES_MAX`] counts.
pub const LOG_WINDOW: Duration = Duration::from_secs(5);
/// Maximum time that the end of the host waits for the removal of plugins' directories.
pub const REMOVAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of paths outside of its package that a plugin is shown because links of the
/// package lead there.
pub const LINKED_MAX: usize = 256;
/// Maximum time that the host's end waits for plugins to end in the order of their dependencies;
/// then all that are left end at once.
pub const SHUTDOWN_ORDER_MAX: Duration = Duration::from_secs(15);
/// Maximum wait of a call for a plugin that starts for the first time.
pub const FIRST_START_WAIT: Duration = Duration::from_secs(10);
/// Maximum wait of a call for a plugin that is restarted, unless its plugin.yaml has another.
pub const RESTART_WAIT: Duration = Duration::from_secs(2);
/// Maximum number of calls that wait for the start of one plugin.
pub const START_WAITERS_MAX: usize = 256;
/// Interval between health probes of a running plugin.
pub const HEALTH_INTERVAL: Duration = Duration::from_secs(30);
/// Maximum time for the answer to a Ping of the health probe.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum time for the answer of a plugin's own health function.
pub const HEALTH_FUNCTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Number of unanswered probes in a row after which a plugin is restarted.
pub const HEALTH_MISSES: u32 = 3;
/// Number of calls in a row that must time out, over at least [`DEGRADED_AFTER`], for a plugin to
/// count as degraded.
pub const DEGRADED_CALLS: u32 = 20;
/// Minimum time between the first and the last of these timeouts; see [`DEGRADED_CALLS`].
pub const DEGRADED_AFTER: Duration = Duration::from_secs(60);
/// The largest answer of a plugin's own health function that is kept, in bytes.
pub const HEALTH_PAYLOAD_BYTES_MAX: usize = 16 * 1024;
/// Interval between full scans of the plugins directory, which do not depend on change
/// notifications, unless the configuration has another.
pub const RESCAN_INTERVAL: Duration = Duration::from_secs(30);
/// The shortest rescan interval: a scan of many plugins takes a while.
pub const RESCAN_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// The longest rescan interval.
pub const RESCAN_INTERVAL_MAX: Duration = Duration::from_secs(60 * 60);
/// Time without a change in a plugin's directory after which the directory is scanned.
pub const CHANGE_QUIET: Duration = Duration::from_millis(500);
/// Maximum time from the first change in a directory to its scan.
pub const CHANGE_WAIT_MAX: Duration = Duration::from_secs(5);
/// Maximum time that a plugin is left as it is while its files are written, until the writer closes
/// them. A writer that goes on for longer, or pauses for longer than [`CHANGE_WAIT_MAX`], is not
/// waited for.
pub const WRITE_WAIT_MAX: Duration = Duration::from_secs(60);
/// Time that a plugin's directory, or its manifest, must be missing before the plugin is removed.
/// Tools that replace a directory, such as rsync and git, remove the old one first.
pub const GONE_AFTER: Duration = Duration::from_secs(5);
/// Maximum number of entries, at all levels, of a directory that a link of a package shows to a
/// plugin.
pub const LINKED_ENTRIES_MAX: usize = 16 * 1024;
