//! A plugin over all its processes: its name, its log, its generations. This module alone publishes
//! its status.

mod driver;
mod lifecycle;
mod offer;
mod orders;
mod restarts;
mod state;
mod view;
mod will;

pub(crate) use self::driver::Plugin;
pub(crate) use self::offer::Offer;
pub(crate) use self::will::Hold;
