//! The live properties, a file for each family of standards: declarations only.

mod acl;
mod apple;
mod caldav;
mod sync;
mod webdav;

use super::property::Property;

pub(super) use webdav::http_date;

/// Every live property.
pub(super) const ALL: [&[Property]; 5] = [webdav::ALL, acl::ALL, caldav::ALL, sync::ALL, apple::ALL];
