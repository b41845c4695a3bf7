//! Every limit of this crate, in one place.

use std::time::Duration;

/// How long a plugin may take from its start to its handshake line.
pub const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long connecting and registering may take together with nothing else to bound them.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one call may take unless the plugin asks for more or less.
pub const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// The longest `call_timeout` a plugin can ask for.
pub const CALL_TIMEOUT_MAX: Duration = Duration::from_secs(10 * 60);
/// How long GKRegister and Init may take (each) unless the plugin asks for more or less.
pub const INIT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The longest `init_timeout` a plugin can ask for.
pub const INIT_TIMEOUT_MAX: Duration = Duration::from_secs(5 * 60);
/// How long Shutdown may take unless the plugin asks for more or less.
pub const SHUTDOWN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// The longest `shutdown_timeout` a plugin can ask for.
pub const SHUTDOWN_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// The shortest timeout of any kind: less would fail by scheduling alone.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(10);
/// How much memory a plugin has, in bytes, unless its policy or its plugin.yaml says otherwise.
pub const MEMORY_DEFAULT: u64 = 512 * 1024 * 1024;
/// The most memory a plugin can have, in bytes, whoever asks for it.
pub const MEMORY_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// The least memory a plugin has, in bytes: in less, many a runtime does not even start.
pub const MEMORY_MIN: u64 = 32 * 1024 * 1024;
/// How long starting a plugin's process may take, its sandbox included: longer than gk-sandbox itself
/// waits, which can say what was slow.
pub const LAUNCH_TIMEOUT: Duration = Duration::from_secs(45);
/// How long checking a plugin's signature may take: a package may have 512 MiB.
pub const VERIFY_TIMEOUT: Duration = Duration::from_secs(60);
/// For how many versions of plugins it is remembered that their missing signature was warned of.
pub const WARNED_VERSIONS_MAX: usize = 4096;
/// How long running calls may go on after a stop was requested.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long running calls may go on in a generation that another one has replaced.
pub const REPLACED_DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// How long Ping and Quit may take.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a plugin may take to exit by itself after Quit; then it is killed.
pub const EXIT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a plugin whose connection broke may take to exit by itself, so that its own exit code
/// and not our SIGKILL is reported. Its calls have failed before; on a busy machine a process that
/// was killed for its memory, or whose sandbox has to be told of its end, takes a while to be gone.
pub const CRASH_EXIT_GRACE: Duration = Duration::from_secs(2);
/// How long the last output of an ended plugin is waited for.
pub const LAST_OUTPUT_GRACE: Duration = Duration::from_millis(30);
/// The same for one that never ran: no call waits for the report, and its output is all there is to
/// tell what was wrong.
pub const FIRST_OUTPUT_GRACE: Duration = Duration::from_secs(1);
/// How long a failed call waits for the report on the crash that failed it.
pub const CRASH_REPORT_WAIT: Duration = Duration::from_millis(90);

/// How many processes and threads a plugin may have, unless the configuration says otherwise.
pub const PROCESSES_MAX: u32 = 512;
/// How many descriptors each of a plugin's processes may have open, unless the configuration says
/// otherwise.
pub const OPEN_FILES_MAX: u64 = 4096;
/// How many bytes a plugin's temporary directory holds, unless the configuration says otherwise.
pub const TEMP_BYTES_MAX: u64 = 64 << 20;
/// How large a file may become that a plugin writes, in bytes, unless the configuration says
/// otherwise.
pub const FILE_BYTES_MAX: u64 = 1 << 30;

/// How many plugins start at the same time.
pub const PARALLEL_STARTS: usize = 8;
/// After this long a start no longer counts among [`PARALLEL_STARTS`]: a plugin that hangs delays
/// the others by no more.
pub const SLOW_START: Duration = Duration::from_secs(2);

/// How many directories a plugins directory may hold.
pub const PLUGIN_DIRS_MAX: usize = 1024;
/// The longest handshake line.
pub const HANDSHAKE_BYTES_MAX: usize = gk_wire::handshake::MAX_LINE_BYTES;
/// How much of a plugin's output an error shows.
pub const SHOWN_OUTPUT_BYTES_MAX: usize = 1024;
/// How many lines of a plugin's stderr an error shows.
pub const SHOWN_STDERR_LINES: usize = 8;

/// The longest function name of a call.
pub const FUNCTION_BYTES_MAX: usize = 256;
/// The largest arguments of a call: a request's body of 64 MiB, as base64.
pub const ARGS_BYTES_MAX: usize = 96 * 1024 * 1024;
/// The largest result of a call.
pub const RESULT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The largest error text a plugin may answer with; longer ones are cut.
pub const ERROR_TEXT_BYTES_MAX: usize = 16 * 1024;
/// How many calls may run in one plugin at the same time, those included that are made during other calls and do not wait.
/// One that timed out, or whose caller went away, runs until the plugin answers it.
pub const CALLS_IN_FLIGHT_MAX: usize = 1024;
/// How many calls run in one plugin at the same time unless its policy says otherwise; further ones wait.
pub const CALLS_IN_FLIGHT_DEFAULT: usize = 64;
/// How many calls wait for one plugin unless its policy says otherwise; further ones are refused.
pub const CALLS_WAITING_DEFAULT: usize = 256;
/// How long a call waits until it may run, if its own time is not over before.
pub const CALL_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long calls wait for a plugin without a break until the newest of them is let in first: the oldest ones have used up
/// most of their time, and would not be answered any more when it is their turn.
pub const NEWEST_FIRST_AFTER: Duration = Duration::from_millis(100);

/// The longest log line; a longer one becomes several entries.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;
/// The longest line that is read as one, in bytes; go-plugin's own limit. Of a structured record that is longer than
/// [`LOG_LINE_BYTES_MAX`] the message is cut, and text becomes several entries.
pub const LOG_RECORD_BYTES_MAX: usize = 64 * 1024;
/// How often it is said that a plugin's lines are kept out of the host's log.
pub const LOG_SUPPRESSED_INTERVAL: Duration = Duration::from_secs(1);
/// How many log entries are kept per plugin.
pub const LOG_RING_ENTRIES: usize = 1000;
/// How many bytes of log entries are kept per plugin.
pub const LOG_RING_BYTES: usize = 512 * 1024;
/// How many fields of one log record are kept.
pub const LOG_FIELDS_MAX: usize = 32;
/// The longest name of a log record's field; longer ones are dropped.
pub const LOG_FIELD_NAME_BYTES_MAX: usize = 64;
/// The longest value of a log record's field; longer ones are cut.
pub const LOG_FIELD_VALUE_BYTES_MAX: usize = 1024;
/// How many log lines of one plugin reach the host's own log within [`LOG_WINDOW`].
pub const LOG_LINES_MAX: u32 = 1000;
/// The sliding window in which [`LOG_LINES_MAX`] counts.
pub const LOG_WINDOW: Duration = Duration::from_secs(5);
/// How long the end of the host waits for directories of plugins to be removed.
pub const REMOVAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How many places outside of its package a plugin is shown because links of the package lead there.
pub const LINKED_MAX: usize = 256;
/// How long the host's end waits for plugins to end in the order of their dependencies; then all that are left end at
/// once.
pub const SHUTDOWN_ORDER_MAX: Duration = Duration::from_secs(15);
/// How long a call waits for a plugin that starts for the first time.
pub const FIRST_START_WAIT: Duration = Duration::from_secs(10);
/// How long a call waits for a plugin that is started again, unless its plugin.yaml says otherwise.
pub const RESTART_WAIT: Duration = Duration::from_secs(2);
/// How many calls may wait for the start of one plugin.
pub const START_WAITERS_MAX: usize = 256;
/// How often a running plugin is asked for a sign of life.
pub const HEALTH_INTERVAL: Duration = Duration::from_secs(30);
/// How long a plugin may take to answer a Ping of the health probe.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a plugin's own health function may take.
pub const HEALTH_FUNCTION_TIMEOUT: Duration = Duration::from_secs(5);
/// After so many probes in a row without an answer a plugin is started again.
pub const HEALTH_MISSES: u32 = 3;
/// After so many calls in a row that all timed out, over at least [`DEGRADED_AFTER`], a plugin is degraded.
pub const DEGRADED_CALLS: u32 = 20;
/// See [`DEGRADED_CALLS`].
pub const DEGRADED_AFTER: Duration = Duration::from_secs(60);
/// The largest answer of a plugin's own health function that is kept, in bytes.
pub const HEALTH_PAYLOAD_BYTES_MAX: usize = 16 * 1024;
/// How often the plugins directory is looked through, whatever its file system tells of changes, unless the configuration
/// says otherwise.
pub const RESCAN_INTERVAL: Duration = Duration::from_secs(30);
/// The shortest such interval: a look at many plugins takes a while.
pub const RESCAN_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// The longest such interval.
pub const RESCAN_INTERVAL_MAX: Duration = Duration::from_secs(60 * 60);
/// How long nothing must change in a plugin's directory before it is looked at.
pub const CHANGE_QUIET: Duration = Duration::from_millis(500);
/// How long after the first change a directory is looked at in any case.
pub const CHANGE_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a plugin whose files are being written is left as it is, until whoever writes closes them. One that writes on
/// and on, or pauses for longer than [`CHANGE_WAIT_MAX`], is not waited for.
pub const WRITE_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long a plugin's directory, or its manifest, must be gone until the plugin is: tools that put a directory in place
/// of another, such as rsync and git, remove first.
pub const GONE_AFTER: Duration = Duration::from_secs(5);
/// How many entries a directory may have, all below it included, that a link of a package shows to a plugin.
pub const LINKED_ENTRIES_MAX: usize = 16 * 1024;
