//! The look at the server before anything is read: whether all is there that the pipeline will need.
//!
//! Statements are planned (`explain`) and not run. Planning finds missing tables, columns and rights, types
//! that do not fit and keys without an index; the catalogue names all missing columns at once.

use rtbflow::{Error, Result};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::postgres::batch::unnest;
use crate::postgres::cell::Kind;
use crate::postgres::failure::failure;
use crate::postgres::needs::{Need, NeededTable};
use crate::postgres::session::Lease;
use crate::postgres::settings::Version;
use crate::postgres::transaction::first_word;
use crate::postgres::value::Value;
use crate::postgres::{chunks, positions, tables};

/// Columns of a table that are not there, and those that need a value and get none. A trigger that runs
/// before a row is added may give it one.
const COLUMNS: &str = "
select u.name as missing, null as unfilled from unnest($2::text[]) as u(name)
where not exists (select from pg_attribute a
    where a.attrelid = to_regclass($1) and a.attname = u.name and not a.attisdropped)
union all
select null, a.attname::text from pg_attribute a
where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped and a.attnotnull
    and not a.atthasdef and coalesce(to_jsonb(a)->>'attidentity', '') = '' and a.attname <> all ($2)
    and not exists (select from pg_trigger t
        where t.tgrelid = a.attrelid and not t.tgisinternal and t.tgtype & 2 = 2)";

/// Sequences that give columns their defaults and that may not be used.
const SEQUENCES: &str = "
select s.oid::regclass::text as sequence from pg_depend d join pg_class s on s.oid = d.objid
where d.classid = 'pg_class'::regclass and d.refobjid = to_regclass($1) and d.deptype = 'a'
    and case when s.relkind = 'S' then not has_sequence_privilege(s.oid, 'usage, update') end";

/// Looks for all that will be needed; tables of the library's own are made if they are missing and may be.
pub(crate) async fn look(lease: &Lease<'_>, needs: &[Need], creates: bool) -> Result<()> {
    let mut missing = Missing::default();
    missing.server(lease, needs).await?;
    match tables::own(lease, creates).await {
        Ok(()) => {
            for (sql, parameters) in positions::statements().into_iter().chain(chunks::all()) {
                missing.statement(lease, "keep positions and state", sql, &parameters).await?;
            }
        }
        Err(error) => missing.keep(error)?,
    }
    let version = lease.version();
    for need in needs {
        // Its statements would be refused for no other reason.
        if need.oldest.is_none_or(|oldest| version >= oldest) {
            missing.need(lease, need).await?;
        }
    }
    missing.into_result(lease.server)
}

/// What is missing, in the order in which it was found.
#[derive(Default)]
struct Missing(Vec<String>);

impl Missing {
    fn into_result(self, server: &str) -> Result<()> {
        match self.0.as_slice() {
            [] => Ok(()),
            [one] => Err(Error::config(format!("prepare Postgres at {server}: {one}"))),
            many => {
                let listed =
                    many.iter().zip(1..).map(|(what, number)| format!("({number}) {what}"));
                let listed = listed.collect::<Vec<_>>().join("; ");
                Err(Error::config(format!(
                    "prepare Postgres at {server}: {} things do not fit the pipeline: {listed}",
                    many.len()
                )))
            }
        }
    }

    /// Notes what somebody has to change; returns what may pass by itself.
    fn keep(&mut self, error: Error) -> Result<()> {
        // It says nothing about what is there: the whole look is made again.
        if error.is_transient() {
            return Err(error);
        }
        self.add(error.report());
        Ok(())
    }

    fn add(&mut self, what: String) {
        if !self.0.contains(&what) {
            self.0.push(what);
        }
    }

    async fn need(&mut self, lease: &Lease<'_>, need: &Need) -> Result<()> {
        // A statement on a table that does not fit would fail for what is named already.
        if let Some(table) = &need.table
            && !self.table(lease, &need.attempted, table).await?
        {
            return Ok(());
        }
        for (sql, parameters) in &need.statements {
            self.statement(lease, &need.attempted, sql, parameters).await?;
        }
        Ok(())
    }

    async fn server(&mut self, lease: &Lease<'_>, needs: &[Need]) -> Result<()> {
        let version = lease.version();
        let oldest = needs.iter().filter_map(|need| need.oldest.map(|at| (at, &*need.attempted)));
        let all = oldest.chain([(Version::OLDEST, "keep positions and state")]);
        for (oldest, attempted) in all.filter(|(oldest, _)| version < *oldest) {
            self.add(format!(
                "{attempted}: it takes Postgres {oldest} or newer, this is {version}"
            ));
        }
        self.encoding(lease).await
    }

    async fn encoding(&mut self, lease: &Lease<'_>) -> Result<()> {
        let attempted = format!("look at the database in Postgres at {}", lease.server);
        let sql = "select pg_encoding_to_char(encoding)::text as encoding from pg_database
            where datname = current_database()";
        let rows = lease.read(sql, &[], &attempted).await?;
        // Of a server that does not list its own database nothing is known; text that it refuses is found by then.
        let Some(row) = rows.first() else { return Ok(()) };
        let encoding: String = get(row, "encoding", &attempted)?;
        match encoding.as_str() {
            "UTF8" => {}
            "SQL_ASCII" => self.add(
                "the database has no encoding (SQL_ASCII), so that text could not be distinguished from bytes: \
                 make one with create database … encoding 'UTF8' template template0"
                    .to_owned(),
            ),
            other => tracing::warn!(
                server = lease.server,
                "the database is encoded in {other}: a record whose text it cannot hold becomes a dead letter"
            ),
        }
        Ok(())
    }

    /// Whether rows can be added to a table; what its statement says is another matter.
    async fn table(
        &mut self,
        lease: &Lease<'_>,
        attempted: &str,
        table: &NeededTable,
    ) -> Result<bool> {
        let before = self.0.len();
        let looked = format!("look at table {} in Postgres at {}", table.quoted, lease.server);
        let name = Value::from(&table.quoted);
        if !is_there(lease, &name, &looked).await? {
            self.add(format!(
                "{attempted}: there is no table {}: create it, or correct the search_path",
                table.quoted
            ));
            return Ok(false);
        }
        let columns = Value::array(table.columns.iter().map(|(column, _)| column));
        self.columns(lease, attempted, &[name.clone(), columns], &looked).await?;
        self.sequences(lease, attempted, &name, &looked).await?;
        // Types are looked at only where all columns are there.
        if self.0.len() == before {
            for (column, kind) in &table.columns {
                if let Some(kind) = kind {
                    self.column(lease, attempted, table, (column, *kind)).await?;
                }
            }
        }
        Ok(self.0.len() == before)
    }

    /// Looks for columns that are missing, and for those that need a value and get none.
    async fn columns(
        &mut self,
        lease: &Lease<'_>,
        attempted: &str,
        named: &[Value; 2],
        looked: &str,
    ) -> Result<()> {
        for row in lease.read(COLUMNS, &Value::parameters(named), looked).await? {
            if let Some(column) = get::<Option<String>>(&row, "missing", looked)? {
                self.add(format!("{attempted}: the table has no column {column:?}: add it"));
            }
            if let Some(column) = get::<Option<String>>(&row, "unfilled", looked)? {
                self.add(format!(
                    "{attempted}: column {column:?} takes no null, has no default, and the sink does not \
                     fill it: give it a default, or add it to the sink"
                ));
            }
        }
        Ok(())
    }

    /// Looks for sequences that the user may not use.
    async fn sequences(
        &mut self,
        lease: &Lease<'_>,
        attempted: &str,
        name: &Value,
        looked: &str,
    ) -> Result<()> {
        let named = Value::parameters(std::slice::from_ref(name));
        for row in lease.read(SEQUENCES, &named, looked).await? {
            let sequence: String = get(&row, "sequence", looked)?;
            self.add(format!("{attempted}: grant the user usage on sequence {sequence}"));
        }
        Ok(())
    }

    /// Looks at the type of one column, so that all that do not fit are named and not only the first.
    async fn column(
        &mut self,
        lease: &Lease<'_>,
        attempted: &str,
        table: &NeededTable,
        (column, kind): (&str, Kind),
    ) -> Result<()> {
        const DOES_NOT_FIT: &str = "42804";
        let quoted = crate::postgres::identifier::column(column)?;
        let sql =
            format!("insert into {} ({quoted}) select u.c1 from {}", table.quoted, unnest(&[kind]));
        match plan(lease, &sql, &[Value::none_of(kind)]).await {
            Err(error) if error.code().is_some_and(|code| code.code() == DOES_NOT_FIT) => {
                self.keep(failure(attempted, &error))
            }
            // Whatever else is wrong with it is found by the statement that adds whole rows.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn statement(
        &mut self,
        lease: &Lease<'_>,
        attempted: &str,
        sql: &str,
        parameters: &[Value],
    ) -> Result<()> {
        // Others have no plan to look at.
        const PLANNED: [&str; 7] =
            ["select", "insert", "update", "delete", "with", "merge", "values"];
        if !PLANNED.contains(&first_word(sql).to_ascii_lowercase().as_str()) {
            return Ok(());
        }
        match plan(lease, sql, parameters).await {
            Ok(_) => Ok(()),
            Err(error) => self.keep(failure(attempted, &error)),
        }
    }
}

/// Whether there is a table of this name.
async fn is_there(lease: &Lease<'_>, name: &Value, looked: &str) -> Result<bool> {
    let sql = "select to_regclass($1) is not null as there";
    let rows = lease.read(sql, &Value::parameters(std::slice::from_ref(name)), looked).await?;
    let is_there = rows.first().map(|row| get(row, "there", looked)).transpose()?;
    // The statement returns a row in any case.
    is_there.ok_or_else(|| Error::broken("a select without a table returns no row"))
}

/// Plans a statement, and rolls back.
async fn plan(
    lease: &Lease<'_>,
    sql: &str,
    values: &[Value],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let client = lease.client();
    // Without `analyze` nothing of it runs; with the rollback, nothing that planning may have done stays.
    let sql = format!("explain {sql}");
    let (begun, planned, ended) = futures::future::join3(
        client.batch_execute(&lease.begin),
        client.query_typed(&sql, &Value::parameters(values)),
        client.batch_execute("rollback"),
    )
    .await;
    begun.and(planned).and_then(|rows| ended.map(|()| rows))
}

fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str, attempted: &str) -> Result<T> {
    row.try_get(column).map_err(|error| failure(attempted, &error))
}
