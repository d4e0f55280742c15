//! The immutable tables that extensions' declarations become at start.

use crate::extension::{Claim, Declared, Feature, FeatureFn, FormFn};
use crate::{Info, IqHandler, IqKind, Place, Registrar, Settings};
use std::collections::HashMap;
use std::sync::Arc;

/// Which IQs somebody answers, what disco shows, which stream features there are.
pub struct Registry {
    pub(crate) infos: Vec<Info>,
    pub(crate) features: Vec<Feature>,
    pub(crate) identities: Vec<(Place, &'static str, &'static str)>,
    pub(crate) forms: Vec<FormFn>,
    iq: HashMap<&'static str, Vec<Claim>>,
    pub(crate) registration: Option<Arc<dyn IqHandler>>,
    pub(crate) before_authentication: Vec<FeatureFn>,
    pub(crate) after_authentication: Vec<FeatureFn>,
}

/// Two extensions claimed the same thing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two extensions answer {kind:?} of <{name} xmlns='{namespace}'/> at {place:?}")]
pub struct DoubleClaim {
    place: Place,
    kind: IqKind,
    namespace: &'static str,
    name: &'static str,
}

impl Registry {
    /// Builds the tables.
    pub fn build(registrar: Registrar) -> Result<Registry, DoubleClaim> {
        let Declared {
            infos,
            mut features,
            identities,
            forms,
            iq: claims,
            registration,
            before_authentication,
            after_authentication,
        } = registrar.declared;
        features.sort_unstable_by_key(|feature| (feature.place == Place::Account, feature.name));
        features.dedup_by_key(|feature| (feature.place, feature.name));
        let mut iq: HashMap<&'static str, Vec<Claim>> = HashMap::new();
        for (key, handler) in claims {
            let (place, kind, namespace, name) = key;
            let row = iq.entry(namespace).or_default();
            if row.iter().any(|(other, _)| *other == key) {
                return Err(DoubleClaim { place, kind, namespace, name });
            }
            row.push((key, handler));
        }
        Ok(Registry {
            infos,
            features,
            identities,
            forms,
            iq,
            registration,
            before_authentication,
            after_authentication,
        })
    }

    pub(crate) fn handler(
        &self,
        place: Place,
        kind: IqKind,
        namespace: &str,
        name: &str,
    ) -> Option<&Arc<dyn IqHandler>> {
        let row = self.iq.get(namespace)?;
        row.iter().find(|((p, k, _, n), _)| *p == place && *k == kind && *n == name).map(|(_, handler)| handler)
    }

    /// What is installed, in order of number.
    pub fn infos(&self) -> Vec<Info> {
        let mut infos = self.infos.clone();
        infos.sort_by_key(|info| info.xep);
        infos
    }
    /// disco#info features at a place under these settings, sorted.
    pub fn features<'a>(&'a self, place: Place, settings: &'a Settings) -> impl Iterator<Item = &'static str> + 'a {
        let shown = move |feature: &&Feature| feature.place == place && feature.when.is_none_or(|when| when(settings));
        self.features.iter().filter(shown).map(|feature| feature.name)
    }
    /// disco#info identities (category, type) at a place.
    pub fn identities(&self, place: Place) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
        self.identities.iter().filter(move |(p, _, _)| *p == place).map(|(_, category, kind)| (*category, *kind))
    }
}
