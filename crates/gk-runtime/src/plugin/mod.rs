//! One plugin, whatever its processes do: its name, its log, its generations. What people see of it is published
//! here and nowhere else.

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
