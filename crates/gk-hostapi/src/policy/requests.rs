//! The requests of a plugin's generations, and which of them speaks for the plugin. Pure.

use super::Policy;

/// The requests of a plugin's generations.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// The plugin's: that of the generation that serves, or of the last one that registered.
    current: Option<Asked>,
    /// Of generations that are starting or draining beside it.
    others: Vec<Asked>,
}

#[derive(Debug)]
struct Asked {
    /// 0: plugin.yaml asks, nothing has registered.
    generation: u64,
    request: Policy,
    /// Set if that generation is gone. Its request is still the plugin's.
    ended: bool,
}

impl Requests {
    /// The plugin's request; `None` if that is not known.
    pub(super) fn current(&self) -> Option<&Policy> {
        self.current.as_ref().map(|asked| &asked.request)
    }

    /// The requests of the other generations.
    pub(super) fn others(&self) -> impl Iterator<Item = (u64, &Policy)> {
        self.others
            .iter()
            .map(|asked| (asked.generation, &asked.request))
    }

    /// Takes what plugin.yaml asks for, as long as nothing has registered.
    pub(super) fn found(&mut self, request: Policy) {
        if self
            .current
            .as_ref()
            .is_none_or(|asked| asked.generation == 0)
        {
            self.current = Some(Asked {
                generation: 0,
                request,
                ended: true,
            });
        }
    }

    /// A generation registers: alone, it speaks for the plugin at once; beside one that serves, for
    /// itself.
    pub(super) fn prepare(&mut self, generation: u64, request: Policy, alone: bool) {
        let asked = Asked {
            generation,
            request,
            ended: false,
        };
        if alone {
            // Numbers begin anew for a plugin that was removed and is back.
            self.others.clear();
            self.current = Some(asked);
        } else {
            self.others.retain(|other| other.generation != generation);
            self.others.push(asked);
        }
    }

    /// A generation that was prepared serves from now on; the one before is beside it until it
    /// ends.
    pub(super) fn commit(&mut self, generation: u64) {
        let Some(at) = self
            .others
            .iter()
            .position(|other| other.generation == generation)
        else {
            return;
        };
        let asked = self.others.swap_remove(at);
        let before = self.current.replace(asked);
        self.others.extend(before.filter(|before| !before.ended));
    }

    /// A generation has ended. What the plugin asks for stays known.
    pub(super) fn ended(&mut self, generation: u64) {
        self.others.retain(|other| other.generation != generation);
        if let Some(current) = &mut self.current {
            current.ended |= current.generation == generation;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(calls: u32) -> Policy {
        Policy {
            max_calls_per_second: calls,
            ..Policy::default()
        }
    }

    fn seen(requests: &Requests) -> (Option<u32>, Vec<u64>) {
        let current = requests.current().map(|policy| policy.max_calls_per_second);
        let others = requests.others().map(|(generation, _)| generation);
        (current, others.collect())
    }

    #[test]
    fn one_that_has_ended_comes_back_for_nobody() {
        let mut requests = Requests::default();
        requests.found(asking(1));
        requests.prepare(1, asking(2), true);
        // What was found speaks only for what has not registered.
        requests.found(asking(3));
        requests.prepare(2, asking(4), false);
        assert_eq!(seen(&requests), (Some(2), vec![2]));
        // The one that serves crashes while the next one starts.
        requests.ended(1);
        requests.commit(2);
        assert_eq!(seen(&requests), (Some(4), vec![]));
        requests.prepare(3, asking(5), false);
        requests.commit(3);
        assert_eq!(seen(&requests), (Some(5), vec![2]));
        // Removed and back: the numbers begin anew.
        requests.prepare(1, asking(6), true);
        assert_eq!(seen(&requests), (Some(6), vec![]));
    }
}
