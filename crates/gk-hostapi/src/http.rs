//! Outgoing HTTP requests, checked hop by hop and address by address.
