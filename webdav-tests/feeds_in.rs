//! ICS feeds that are read.
