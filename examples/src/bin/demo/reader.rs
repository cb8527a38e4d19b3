//! Reads how far the pipelines are, each where it keeps that.

use std::collections::HashMap;

use rtbflow::Result;

use crate::asker::Asker;
use crate::campaigns::Campaigns;
use crate::ledger::Ledger;
use crate::pipelines::{Keeps, Places, Role};
use crate::progress::{Ends, Positions};

/// Who asks Kafka where its topics end.
const OWN_GROUP: &str = "rtbflow-demo";

/// Connections to all places. It only reads, so that what it finds is what the pipelines have left there.
pub(crate) struct Reader {
    pub(crate) ledger: Ledger,
    pub(crate) campaigns: Campaigns,
    /// By group.
    askers: HashMap<String, Asker>,
    ends: Asker,
}

impl Reader {
    /// Asks Kafka for groups, and the others by the connections that are given.
    pub(crate) fn new(
        places: &Places,
        roles: &[Role],
        ledger: Ledger,
        campaigns: Campaigns,
    ) -> Result<Self> {
        let asker = |role: &Role| Ok((role.group.clone(), Asker::new(&places.kafka, &role.group)?));
        let in_kafka = roles.iter().filter(|role| role.keeps == Keeps::Kafka);
        let askers = in_kafka.map(asker).collect::<Result<_>>()?;
        Ok(Self { ledger, campaigns, askers, ends: Asker::new(&places.kafka, OWN_GROUP)? })
    }

    /// How far a pipeline is.
    pub(crate) async fn positions(&self, role: &Role) -> Result<Positions> {
        match (role.keeps, self.askers.get(&role.group)) {
            (Keeps::Postgres, _) => self.ledger.positions(&role.group).await,
            (Keeps::Redis, _) => self.campaigns.positions(&role.group).await,
            (Keeps::Kafka, Some(asker)) => asker.positions(role.pipeline.reads).await,
            (Keeps::Kafka, None) => Ok(Positions::new()),
        }
    }

    /// Where the topics end.
    pub(crate) async fn ends(&self) -> Result<Ends> {
        self.ends.ends().await
    }
}
