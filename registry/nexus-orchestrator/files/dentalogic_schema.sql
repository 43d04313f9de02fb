-- The tables that Nexus starts from; each is only made where it is missing. A team with a schema of its own puts a package
-- of this name into its ./registry.
CREATE TABLE IF NOT EXISTS tenants (id bigserial PRIMARY KEY, store_name text NOT NULL, bot_phone_number text UNIQUE, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS professionals (id bigserial PRIMARY KEY, tenant_id bigint NOT NULL REFERENCES tenants(id), name text NOT NULL, calendar_id text);
CREATE TABLE IF NOT EXISTS chat_conversations (id bigserial PRIMARY KEY, tenant_id bigint NOT NULL REFERENCES tenants(id), phone text NOT NULL, updated_at timestamptz NOT NULL DEFAULT now(), UNIQUE (tenant_id, phone));
CREATE TABLE IF NOT EXISTS chat_messages (id bigserial PRIMARY KEY, conversation_id bigint NOT NULL REFERENCES chat_conversations(id) ON DELETE CASCADE, role text NOT NULL, content text NOT NULL, created_at timestamptz NOT NULL DEFAULT now());

CREATE OR REPLACE FUNCTION touch_conversation() RETURNS trigger AS $$
BEGIN
    UPDATE chat_conversations SET updated_at = now() WHERE id = NEW.conversation_id;
    RETURN NEW;
END;
$$ LANGUAGE plpgsql;
CREATE OR REPLACE TRIGGER touch AFTER INSERT ON chat_messages FOR EACH ROW EXECUTE FUNCTION touch_conversation();
