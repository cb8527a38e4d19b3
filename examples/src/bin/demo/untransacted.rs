//! The statement of `duplicate-clicks` for a Kafka without transactions, such as the one in this process.
//!
//! Positions and open windows are kept in Postgres, and refunds are written before they move there: killed
//! in between, it sends some of them again, and `compensation-worker` pays none twice. Kafka itself is the
//! place in the pipeline as it is run otherwise.

use rtbflow::{Job, Result};
use rtbflow_examples::duplicate_clicks::duplicate_clicks;
use rtbflow_examples::events::{Compensation, ad_clicks};
use rtbflow_examples::launch::Launch;
use rtbflow_examples::options::{NoMore, Options};
use rtbflow_examples::pipeline::DUPLICATES;
use rtbflow_examples::process::{Outcome, Shutdown};
use rtbflow_examples::topics::SystemTopic;

/// Runs the pipeline.
pub(crate) async fn run(options: Options<NoMore>, shutdown: Shutdown) -> Result<Outcome> {
    let common = options.common;
    let launch = Launch::new(DUPLICATES, &common)?;
    let postgres = common.to_postgres()?.build()?;
    let writer = launch.kafka().writer();
    let ads = launch
        .source(SystemTopic::AdEvents, ad_clicks())
        .event_time(|ad| ad.timestamp, common.out_of_orderness);
    let job = Job::new(&common.group)?
        .source(ads)
        .anchor(postgres)
        .writer(writer.clone())
        .max_ahead(common.max_ahead)
        .pipeline(move |ads| {
            let refunds = writer
                .records(SystemTopic::CompensationEvents.name())
                .key(|refund: &Compensation| &refund.advertiser_id)
                .json();
            duplicate_clicks(ads).to(refunds)
        });
    let nothing = || std::future::ready(Ok(()));
    launch.run(job, nothing, shutdown).await
}
