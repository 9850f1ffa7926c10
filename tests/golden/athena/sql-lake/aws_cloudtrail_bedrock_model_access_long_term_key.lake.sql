    SELECT CAST(to_unixtime(eventtime) AS bigint) AS "time",
        eventid AS "eventID",
        useridentity.arn AS "userIdentity.arn",
        awsregion AS "awsRegion",
        useridentity.type AS "userIdentity.type",
        useridentity.username AS "userIdentity.userName",
        useridentity.accesskeyid AS "userIdentity.accessKeyId",
        sourceipaddress AS "sourceIPAddress",
        useragent AS "userAgent",
        eventname AS "eventName",
        errorcode AS "errorCode",
        recipientaccountid AS "recipientAccountId",
        element_at(requestparameters, 'modelId') AS "requestParameters.modelId"
    FROM $EDS_ID
    WHERE eventtime BETWEEN TIMESTAMP '$FROM' AND TIMESTAMP '$TO'
        AND (lower(eventsource) = 'bedrock.amazonaws.com' AND (lower(eventname) IN ('createfoundationmodelagreement', 'deletefoundationmodelagreement', 'getfoundationmodelavailability', 'getusecaseformodelaccess', 'listfoundationmodelagreementoffers', 'putfoundationmodelentitlement', 'putusecaseformodelaccess')) AND (lower(useridentity.accesskeyid) LIKE 'akia%' ESCAPE '\' OR lower(useridentity.username) LIKE 'bedrockapikey-%' ESCAPE '\' OR lower(useridentity.type) = 'iamuser' AND element_at(additionaleventdata, 'callWithBearerToken') = 'true') AND NOT coalesce(lower(useridentity.accesskeyid) LIKE 'asia%' ESCAPE '\', false))
ORDER BY "time", "eventID";
