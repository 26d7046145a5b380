//! `kubernetes-validate`, which holds the manifests of `deploy/kubernetes` against the
//! published schemas.
//!
//! It is not installed by the check: with all that it needs it is a download of 25 MB, for
//! files that seldom change.

use super::program::{Found, Program};
use crate::process::Failure;

const PROGRAM: Program = Program {
    name: "kubernetes-validate",
    variable: "GILIRAN_KUBERNETES_VALIDATE",
    oldest: &[1, 31],
};

/// The one that the environment names or that is installed; or why there is none.
pub(crate) fn find() -> Result<Result<Found, String>, Failure> {
    PROGRAM.find("", "To have them checked: python3 -m pip install kubernetes-validate")
}
