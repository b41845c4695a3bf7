//! Remedies: steps for a person, for each layer that is missing.

use super::Layer;

/// A way to get a layer, by the system's answer.
pub(crate) fn remedy(layer: Layer, errno: Option<i32>) -> &'static str {
    match (layer, errno) {
        (Layer::User, Some(libc::ENOSPC)) => {
            "raise the limit: sysctl user.max_user_namespaces=10000"
        }
        (Layer::Mount, Some(libc::ENOSPC)) => {
            "raise the limits: sysctl user.max_mnt_namespaces=10000 and user.max_user_namespaces=10000, or fs.mount-max"
        }
        (
            Layer::Pid | Layer::Network | Layer::Ipc | Layer::Uts | Layer::Cgroup,
            Some(libc::ENOSPC),
        ) => {
            "raise the limit of its kind: sysctl user.max_pid_namespaces, max_net_namespaces, \
             max_ipc_namespaces, max_uts_namespaces or max_cgroup_namespaces, and \
             user.max_user_namespaces"
        }
        (Layer::Mount, Some(libc::ENOSYS | libc::EINVAL)) => {
            "use a kernel of 5.12 or newer; in a container, allow the mount calls of its seccomp profile"
        }
        (
            Layer::User
            | Layer::Mount
            | Layer::Pid
            | Layer::Network
            | Layer::Ipc
            | Layer::Uts
            | Layer::Cgroup,
            _,
        ) => {
            "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, \
             kernel.apparmor_restrict_unprivileged_userns=0), run the host as root, or, in a \
             container, allow unshare, clone and mount in its seccomp profile"
        }
        #[cfg(target_os = "linux")]
        (Layer::Memory | Layer::Processes | Layer::Cpu, errno) => of_limit(errno.unwrap_or(0)),
        (Layer::Landlock, _) => {
            "use a kernel of 6.12 or newer with landlock among its security modules (lsm=)"
        }
        (Layer::Identity, _) => {
            "run the host as root, with users to give: each sandbox gets one of its own then"
        }
        (Layer::Mdwe, _) => "use a kernel of 6.3 or newer",
        (Layer::MemfdNoexec, _) => "use a kernel of 6.3 or newer, with seccomp",
        (Layer::Seccomp, _) => "use a kernel with CONFIG_SECCOMP_FILTER",
        _ => "see the errno; a container's security profile may forbid it",
    }
}

/// A way to get a limit, by the kernel's answer.
#[cfg(target_os = "linux")]
fn of_limit(errno: i32) -> &'static str {
    match errno {
        libc::EBUSY => {
            "under systemd set Delegate=yes and DelegateSubgroup=host in the host's unit: a cgroup that has processes itself cannot give controllers to others"
        }
        libc::EACCES | libc::EPERM => {
            "let the host make cgroups: under systemd (cgroup v2) set Delegate=yes and DelegateSubgroup=host in its unit; else run it as root, or in a container with a writable cgroup"
        }
        libc::EROFS => {
            "give the container a writable cgroup file system (--cgroupns=private and a rw mount of /sys/fs/cgroup); this one is read-only"
        }
        libc::EWOULDBLOCK => "give each host a label of its own: another one with this label runs",
        libc::EINVAL => "use letters, digits, '-', '_' and '.' in labels and names",
        _ => {
            "boot a kernel with this controller, mount cgroup2 at /sys/fs/cgroup, or enable the controller in the cgroups above the host's"
        }
    }
}
